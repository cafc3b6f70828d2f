"""From a sweep file to packs in the order that they may train. Pure but for what it loads."""
