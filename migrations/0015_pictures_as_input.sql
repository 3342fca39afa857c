-- How a step goes along the model's velocity. Renders from before have what they were made with.
ALTER TABLE renders ADD COLUMN sampler TEXT NOT NULL DEFAULT 'euler' CHECK (sampler IN ('euler', 'res_multistep'));

-- The picture that a render begins with, and where it is painted over: the SHA-256 of each file's content, by which it
-- is kept under the state folder; empty where there is none.
ALTER TABLE renders ADD COLUMN init_image TEXT NOT NULL DEFAULT '' CHECK (length(init_image) IN (0, 64));
ALTER TABLE renders ADD COLUMN mask TEXT NOT NULL DEFAULT ''
    CHECK (length(mask) IN (0, 64) AND (mask = '' OR init_image <> ''));
-- How much of the noise that a render begins with is noise; 1 is all of it.
ALTER TABLE renders ADD COLUMN strength REAL NOT NULL DEFAULT 1.0 CHECK (strength > 0 AND strength <= 1);

-- For the question whether a kept picture is still needed.
CREATE INDEX renders_by_init_image ON renders (init_image) WHERE init_image <> '';
CREATE INDEX renders_by_mask ON renders (mask) WHERE mask <> '';
