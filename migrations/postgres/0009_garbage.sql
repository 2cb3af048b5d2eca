-- When the platform stopped keeping the image of a release; the row stays. NULL: it can be deployed.
ALTER TABLE releases ADD COLUMN image_gone_at BIGINT;
CREATE INDEX releases_by_image ON releases (environment_id, image);
