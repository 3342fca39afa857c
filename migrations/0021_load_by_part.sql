-- How long the weights of each part took to come to the device, as JSON; empty where nobody measured it.
ALTER TABLE workers ADD COLUMN load_parts TEXT NOT NULL DEFAULT '[]'
    CHECK (json_valid(load_parts) AND json_type(load_parts) = 'array');
