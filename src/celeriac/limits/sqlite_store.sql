-- Locks and gates of SqliteStore, in a file of their own that several processes use at once (WAL).
--
-- All times are Unix seconds. Sections are read by name; "?" stands for the values in order.

-- name: schema
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS locks (
    key    TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until  REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ending ON locks (until);
CREATE TABLE IF NOT EXISTS cells ( -- starts in a window, counted by pieces of it
    gate  TEXT    NOT NULL,
    cell  INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (gate, cell)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held ( -- what runs
    gate     TEXT NOT NULL,
    task     TEXT NOT NULL,
    since    REAL NOT NULL,
    deadline REAL NOT NULL,
    PRIMARY KEY (gate, task)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS line ( -- who was refused: a place in line, and when it will ask again
    gate TEXT    NOT NULL,
    task TEXT    NOT NULL,
    place INTEGER NOT NULL,
    due  REAL    NOT NULL,
    PRIMARY KEY (gate, task)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS places ON line (gate, place);
CREATE INDEX IF NOT EXISTS dues   ON line (gate, due);
CREATE TABLE IF NOT EXISTS typical ( -- how long tasks run lately
    gate    TEXT PRIMARY KEY,
    seconds REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;

-- name: forget_locks
DELETE FROM locks WHERE until <= ?

-- name: holder
SELECT holder FROM locks WHERE key = ?

-- name: lock
INSERT INTO locks VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET until = excluded.until

-- name: extend
UPDATE locks SET until = ? WHERE key = ? AND holder = ? AND until > ?

-- name: unlock
DELETE FROM locks WHERE key = ? AND holder = ?

-- name: forget_cells
DELETE FROM cells WHERE gate = ? AND cell < ?

-- name: used_cells
SELECT coalesce(sum(count), 0), min(cell) FROM cells WHERE gate = ?

-- name: count_start
INSERT INTO cells VALUES (?, ?, 1) ON CONFLICT (gate, cell) DO UPDATE SET count = count + 1

-- name: forget_held
DELETE FROM held WHERE gate = ? AND deadline <= ?

-- name: used_places
SELECT count(*), coalesce(max(task = ?), 0) FROM held WHERE gate = ?

-- name: hold
INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT (gate, task) DO UPDATE SET deadline = excluded.deadline

-- name: since
SELECT since FROM held WHERE gate = ? AND task = ?

-- name: leave
DELETE FROM held WHERE gate = ? AND task = ?

-- name: typical
SELECT seconds FROM typical WHERE gate = ?

-- name: learn
INSERT OR REPLACE INTO typical VALUES (?, ?)

-- name: forget_line
DELETE FROM line WHERE gate = ? AND due <= ?

-- name: place
SELECT place FROM line WHERE gate = ? AND task = ?

-- name: before
SELECT count(*) FROM line WHERE gate = ? AND place < ?

-- name: overdue
SELECT count(*) FROM line WHERE gate = ? AND due <= ? AND task <> ?

-- name: line_up
INSERT INTO line SELECT ?, ?, 1 + coalesce(max(place), 0), ? FROM line WHERE gate = ?

-- name: wait_on
UPDATE line SET due = ? WHERE gate = ? AND task = ?

-- name: leave_line
DELETE FROM line WHERE gate = ? AND task = ?
