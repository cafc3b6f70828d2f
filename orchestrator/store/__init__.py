"""Where finished stages live, found by key, and what the record of a stage holds."""
