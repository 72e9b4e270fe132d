-- What workers tell of themselves, in a file beside the broker's, so that idle shards are not woken by it.

-- name: schema
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS posts (
    name     TEXT PRIMARY KEY,
    text     BLOB NOT NULL,
    deadline REAL NOT NULL -- Unix seconds
) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;

-- name: post
INSERT OR REPLACE INTO posts (name, text, deadline) VALUES (?, ?, ?)

-- name: forget
DELETE FROM posts WHERE deadline <= ?

-- name: posted
SELECT name, text FROM posts WHERE deadline > ?
