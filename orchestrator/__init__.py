"""From a sweep file to trained, compared and registered students."""
