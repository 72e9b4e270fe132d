-- Messages of SqliteBroker, in one file that several processes use at once (WAL).
--
-- A message is one row and `state` says where it is, so it is in exactly one state whatever happens
-- between two transactions. Each state has its own partial index, which covers what its readers ask.
--
-- `id` is the place in line: of one queue and priority the lowest ready id is claimed first. A message
-- that goes back from a lease keeps its id and is therefore claimed next; one that becomes ready anew
-- (promoted, retried) is copied to a new id, behind all others. Ids are never used twice.
--
-- Sections are read by name; "?" stands for the values in the order of the columns named.

-- name: schema
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS messages (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    queue      TEXT    NOT NULL,
    priority   INTEGER NOT NULL,
    payload    BLOB    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('ready', 'leased', 'delayed', 'dead')),
    deliveries INTEGER NOT NULL DEFAULT 1, -- number of the delivery it is in, or will have next
    claims     INTEGER NOT NULL DEFAULT 0, -- how often it was claimed; makes every lease id new
    owner      TEXT,                       -- while leased
    due        REAL,                       -- while delayed; Unix seconds, as all times
    reason     TEXT,                       -- while dead
    died_at    REAL                        -- while dead
);
CREATE INDEX IF NOT EXISTS ready   ON messages (state, queue, priority) WHERE state = 'ready';
CREATE INDEX IF NOT EXISTS leased  ON messages (state, owner, queue)    WHERE state = 'leased';
CREATE INDEX IF NOT EXISTS delayed ON messages (state, due, queue)      WHERE state = 'delayed';
CREATE INDEX IF NOT EXISTS dead    ON messages (state, died_at, queue)  WHERE state = 'dead';
CREATE TABLE IF NOT EXISTS owners (
    owner    TEXT PRIMARY KEY,
    deadline REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bindings (
    exchange    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    pattern     TEXT NOT NULL,
    queue       TEXT NOT NULL,
    PRIMARY KEY (exchange, routing_key, pattern, queue)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS expiring_queues (
    queue    TEXT PRIMARY KEY,
    after    REAL NOT NULL, -- seconds without a touch
    deadline REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;

-- name: insert
INSERT INTO messages (queue, priority, payload, state, due) VALUES (?, ?, ?, ?, ?)

-- name: next_ready
SELECT m.id, m.claims + 1, m.deliveries, m.queue, m.priority, m.payload
FROM json_each(?) AS q
JOIN messages AS m ON m.id IN (
    SELECT id FROM messages WHERE state = 'ready' AND queue = q.value ORDER BY priority, id LIMIT ?
)
ORDER BY m.priority, q.key, m.id
LIMIT ?

-- name: lease
UPDATE messages SET state = 'leased', owner = ?, claims = claims + 1 WHERE id = ?

-- name: enter_owner
INSERT INTO owners (owner, deadline) VALUES (?, ?)
ON CONFLICT (owner) DO UPDATE SET deadline = excluded.deadline

-- name: touch
UPDATE expiring_queues SET deadline = ? + after WHERE queue IN (SELECT value FROM json_each(?))

-- name: renew
UPDATE owners SET deadline = ? WHERE owner = ?

-- name: ack
DELETE FROM messages WHERE id = ? AND claims = ? AND owner = ? AND state = 'leased'

-- name: release
UPDATE messages SET state = 'ready', owner = NULL
WHERE id = ? AND claims = ? AND owner = ? AND state = 'leased'

-- name: delay
UPDATE messages SET state = 'delayed', owner = NULL, due = ?
WHERE id = ? AND claims = ? AND owner = ? AND state = 'leased'

-- name: bury
UPDATE messages SET state = 'dead', owner = NULL, reason = ?, died_at = ?
WHERE id = ? AND claims = ? AND owner = ? AND state = 'leased'

-- name: due_ids
SELECT id FROM messages WHERE state = 'delayed' AND due <= ? ORDER BY due, id LIMIT ?

-- name: copy_to_the_tail
INSERT INTO messages (queue, priority, payload, state, deliveries)
SELECT queue, priority, payload, 'ready', CASE state WHEN 'dead' THEN 1 ELSE deliveries END
FROM messages WHERE id = ?

-- name: delete
DELETE FROM messages WHERE id = ?

-- name: next_due
SELECT min(due) FROM messages WHERE state = 'delayed'

-- name: overdue_owners
SELECT owner FROM owners WHERE deadline <= ?

-- name: leases_of
SELECT id, claims, deliveries, queue, priority, payload
FROM messages WHERE state = 'leased' AND owner = ? ORDER BY id

-- name: count_deliveries
UPDATE messages SET deliveries = deliveries + ? WHERE id = ?

-- name: forget_owner
DELETE FROM owners WHERE owner = ?

-- name: any_ready
SELECT EXISTS (
    SELECT 1 FROM messages WHERE state = 'ready' AND queue IN (SELECT value FROM json_each(?))
)

-- name: data_version
PRAGMA data_version

-- name: stats
WITH chosen AS (SELECT value FROM json_each(?))
SELECT state, queue, count(*) FROM messages WHERE state = 'ready'
    AND queue IN chosen GROUP BY queue
UNION ALL
SELECT state, queue, count(*) FROM messages WHERE state = 'leased'
    AND queue IN chosen GROUP BY queue
UNION ALL
SELECT state, queue, count(*) FROM messages WHERE state = 'delayed'
    AND queue IN chosen GROUP BY queue
UNION ALL
SELECT state, queue, count(*) FROM messages WHERE state = 'dead'
    AND queue IN chosen GROUP BY queue

-- name: oldest
SELECT m.queue, m.priority, m.payload FROM messages AS m WHERE m.id IN (
    SELECT min(id) FROM messages WHERE state = 'ready' AND queue IN (SELECT value FROM json_each(?))
    GROUP BY queue, priority
)

-- name: scheduled
SELECT queue, payload, priority, due FROM messages
WHERE state = 'delayed' AND queue IN (SELECT value FROM json_each(?)) ORDER BY due, id LIMIT ? OFFSET ?

-- name: dead_letters
SELECT id, queue, payload, priority, reason, died_at, deliveries FROM messages
WHERE state = 'dead' ORDER BY died_at DESC, id DESC LIMIT ? OFFSET ?

-- name: is_dead
SELECT EXISTS (SELECT 1 FROM messages WHERE id = ? AND state = 'dead')

-- name: drop_dead
DELETE FROM messages WHERE id = ? AND state = 'dead'

-- name: drop_ready
DELETE FROM messages WHERE state = 'ready' AND queue IN (SELECT value FROM json_each(?))

-- name: drop_delayed
DELETE FROM messages WHERE state = 'delayed' AND queue IN (SELECT value FROM json_each(?))

-- name: bind
INSERT OR IGNORE INTO bindings (exchange, routing_key, pattern, queue) VALUES (?, ?, ?, ?)

-- name: bindings
SELECT routing_key, pattern, queue FROM bindings WHERE exchange = ?

-- name: expire_queue
INSERT INTO expiring_queues (queue, after, deadline) VALUES (?, ?, ?)
ON CONFLICT (queue) DO UPDATE SET after = excluded.after, deadline = excluded.deadline

-- name: expired_queues
SELECT queue FROM expiring_queues WHERE deadline <= ?

-- name: unbind
DELETE FROM bindings WHERE queue IN (SELECT value FROM json_each(?))

-- name: forget_expiry
DELETE FROM expiring_queues WHERE queue IN (SELECT value FROM json_each(?))
