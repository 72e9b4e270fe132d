-- The scripts of the Redis broker. Each runs as one atomic operation; sections are split at "-- name:".
--
-- Keys, all behind the broker's key prefix (P, which ends in "celeriac:"):
--   <queue>, <queue>\x06\x16<step>  list  kombu's own: LPUSH left, RPOP right, one list a priority step
--   P owners                        zset  owner -> Unix seconds until which its leases hold
--   P leases:<owner>                hash  batch -> the list that its messages came from ("source")
--   P lease:<owner>:<batch>         list  the batch's raw messages in claim order; '' once settled
--   P claiming:<owner>              list  the source itself, while one transaction claims from it
--   P delayed                       set   sources that have delayed messages
--   P delayed:<source>              zset  "<seq>\n<raw>" -> Unix seconds when due
--   P dead                          zset  dead letter's id -> Unix seconds of death
--   P dead:letters                  hash  id -> packed {source, raw, reason, died at, deliveries}
--   P dead:counts                   hash  source -> number of its dead letters
--   P seq                           int   makes members and ids unique
--
-- A lease's id is "<batch>.<index>", index from 0. A raw message that was delivered before begins
-- with {"x-celeriac-deliveries":N, -- a key of the envelope that kombu ignores, and that is cut off
-- again to give back the original bytes.

-- name: prelude
local P = ARGV[1]

local function clock(given)
    if given ~= '' then return tonumber(given) end
    local t = redis.call('TIME')
    return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function unmark(raw)
    local count, rest = string.match(raw, '^{"x%-celeriac%-deliveries":(%d+),(.*)$')
    if count then return '{' .. rest, tonumber(count) end
    return raw, 1
end

local function mark(raw, deliveries)
    if deliveries < 2 or string.sub(raw, 1, 1) ~= '{' then return raw end
    return '{"x-celeriac-deliveries":' .. deliveries .. ',' .. string.sub(raw, 2)
end

local function bury(source, raw, deliveries, reason, now)
    local id = tostring(redis.call('INCR', P .. 'seq'))
    redis.call('ZADD', P .. 'dead', now, id)
    redis.call('HSET', P .. 'dead:letters', id, cmsgpack.pack({source, raw, reason, tostring(now), deliveries}))
    redis.call('HINCRBY', P .. 'dead:counts', source, 1)
    return {id, source, raw, reason, tostring(now), deliveries}
end

local function delay(source, raw, due)
    redis.call('SADD', P .. 'delayed', source)
    redis.call('ZADD', P .. 'delayed:' .. source, due, redis.call('INCR', P .. 'seq') .. '\n' .. raw)
end

local function batch_key(owner, batch)
    return P .. 'lease:' .. owner .. ':' .. batch
end

local function forget_batch(owner, batch)
    redis.call('DEL', batch_key(owner, batch))
    return redis.call('HDEL', P .. 'leases:' .. owner, batch)
end

-- Puts back what is left of a batch, to be popped next and in the old order.
local function return_batch(owner, batch, source, decide)
    local raws = redis.call('LRANGE', batch_key(owner, batch), 0, -1)
    for i = #raws, 1, -1 do
        if raws[i] ~= '' then
            local kept = decide(source, raws[i], batch .. '.' .. (i - 1))
            if kept then redis.call('RPUSH', source, kept) end
        end
    end
    forget_batch(owner, batch)
end

-- Oldest batch last, so that its messages end up first in the queue.
local function return_all(owner, decide)
    local flat = redis.call('HGETALL', P .. 'leases:' .. owner)
    local batches = {}
    for i = 1, #flat, 2 do
        local number, part = string.match(flat[i], '^(%d+)_(%d+)$')
        batches[#batches + 1] = {flat[i], flat[i + 1], tonumber(number), tonumber(part)}
    end
    table.sort(batches, function(a, b)
        if a[3] == b[3] then return a[4] > b[4] end
        return a[3] > b[3]
    end)
    for _, batch in ipairs(batches) do return_batch(owner, batch[1], batch[2], decide) end
    redis.call('DEL', P .. 'leases:' .. owner)
    redis.call('ZREM', P .. 'owners', owner)
end

local function count_delivery(source, raw, max, now, result)
    local plain, deliveries = unmark(raw)
    if deliveries >= max then
        local reason = 'its worker died ' .. deliveries .. ' times'
        if deliveries == 1 then reason = 'its worker died' end
        result[#result + 1] = bury(source, plain, deliveries, reason, now)
        return nil
    end
    result[1] = result[1] + 1
    return mark(plain, deliveries + 1)
end

-- A batch's length, how many are not settled, and the places of those that are. It reads no message,
-- which would have to be copied for Lua.
local function look_at(key)
    local length, settled, places = redis.call('LLEN', key), redis.call('LPOS', key, '', 'COUNT', 0), {}
    for _, place in ipairs(settled) do places[tostring(place)] = true end
    return length, length - #settled, places
end

-- Settles leases from argument `at` on: a count of batches, and for each: owner, batch,
-- completion ('*' all that was left, '?' look, '-' not yet), a count of operations, and for each
-- ('*' has none): index, operation, argument. Returns the position after, and the lost ids.
local function settle(at)
    local lost = {}
    local batches = tonumber(ARGV[at])
    at = at + 1
    for _ = 1, batches do
        local owner, batch, completion, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
        at = at + 4
        local key = batch_key(owner, batch)
        local source = redis.call('HGET', P .. 'leases:' .. owner, batch)
        local length, left, settled = 0, 0, {}
        if source and count > 0 then length, left, settled = look_at(key) end
        for _ = 1, count do
            local index, operation, argument = ARGV[at], ARGV[at + 1], ARGV[at + 2]
            at = at + 3
            if tonumber(index) >= length or settled[index] then
                lost[#lost + 1] = owner .. ' ' .. batch .. '.' .. index
            else
                local raw = operation ~= 'a' and redis.call('LINDEX', key, index)
                redis.call('LSET', key, index, '')
                settled[index], left = true, left - 1
                if operation == 'r' then
                    redis.call('RPUSH', source, raw)
                elseif operation == 'd' then
                    delay(source, raw, argument)
                elseif operation == 'b' then
                    local plain, deliveries = unmark(raw)
                    bury(source, plain, deliveries, argument, clock(''))
                end
            end
        end
        if not source then
            if completion == '*' and count == 0 then lost[#lost + 1] = owner .. ' ' .. batch end
        elseif completion == '*' or completion == '?' and left == 0 then
            forget_batch(owner, batch)
        end
    end
    return at, lost
end

-- Does what comes before a claim: argument `at` is the owner, then come lease seconds, batch number,
-- settlements and doubtful batches. Returns the position of the first source, and the lost ids.
local function begin_claim(at)
    local owner = ARGV[at]
    local doubtful, lost = settle(at + 3)
    redis.call('ZADD', P .. 'owners', clock('') + tonumber(ARGV[at + 1]), owner)
    -- A claim whose answer never arrived may have leased messages that nobody knows of.
    local first = doubtful + tonumber(ARGV[doubtful]) + 1
    for i = doubtful + 1, first - 1 do
        local flat = redis.call('HGETALL', P .. 'leases:' .. owner)
        for j = 1, #flat, 2 do
            if string.match(flat[j], '^(%d+)_') == ARGV[i] then
                return_batch(owner, flat[j], flat[j + 1], function(_, raw) return raw end)
            end
        end
    end
    return first, lost
end

-- name: settle
local _, lost = settle(2)
return lost

-- name: claim
-- P, n, most bytes, owner, lease seconds, batch number, <settlements>, doubtful batches..., sources...
local n, most, owner, number = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[6]
local first, lost = begin_claim(4)
local parts, suspect = {}, false
for i = first, #ARGV do
    if n < 1 or suspect then break end
    local source = ARGV[i]
    local next = redis.call('LINDEX', source, -1)
    if next then
        -- Large messages: as many as fit, taking those that follow to be like the next one.
        if #next * n > most then n = math.max(1, math.floor(most / #next)) end
        local raws = redis.call('RPOP', source, n)
        for j = 1, #raws do
            if string.sub(raws[j], 1, 25) == '{"x-celeriac-deliveries":' then
                for k = #raws, j + 1, -1 do
                    redis.call('RPUSH', source, raws[k])
                    raws[k] = nil
                end
                suspect = true
                break
            end
        end
        local part = #parts / 2
        redis.call('RPUSH', batch_key(owner, number .. '_' .. part), unpack(raws))
        redis.call('HSET', P .. 'leases:' .. owner, number .. '_' .. part, source)
        parts[#parts + 1] = i - first
        parts[#parts + 1] = raws
        n = n - #raws
    end
end
return {lost, parts}

-- name: claim_large
-- P, 'begin', batch, n, owner, lease seconds, batch number, <settlements>, doubtful batches..., sources...
-- P, 'end', batch, n, owner
-- The first and the last step of a transaction, between which LMOVE moves messages, untouched by Lua,
-- from a name that is known beforehand to the lease. One script, as both are known to the server or none.
local batch, n, owner = ARGV[3], tonumber(ARGV[4]), ARGV[5]
local claiming = P .. 'claiming:' .. owner
if ARGV[2] == 'begin' then
    local first, lost = begin_claim(5)
    local place, more = -1, 0
    for i = first, #ARGV do
        local length = redis.call('LLEN', ARGV[i])
        if length > 0 and place >= 0 then more = 1 end
        if length > 0 and place < 0 then
            place = i - first
            redis.call('HSET', P .. 'leases:' .. owner, batch, ARGV[i])
            redis.call('RENAMENX', ARGV[i], claiming)
            if length >= n then break end
        end
    end
    return {lost, place, more}
end
local source = redis.call('HGET', P .. 'leases:' .. owner, batch)
if source and redis.call('EXISTS', claiming) == 1 then redis.call('RENAMENX', claiming, source) end
if redis.call('EXISTS', batch_key(owner, batch)) == 0 then forget_batch(owner, batch) end

-- name: renew
-- P, lease seconds, owners...
local deadline = clock('') + tonumber(ARGV[2])
for i = 3, #ARGV do redis.call('ZADD', P .. 'owners', 'XX', deadline, ARGV[i]) end

-- name: reap
-- P, now, max deliveries
local now, max, result = clock(ARGV[2]), tonumber(ARGV[3]), {0}
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', P .. 'owners', '-inf', now, 'LIMIT', 0, 100)) do
    return_all(owner, function(source, raw) return count_delivery(source, raw, max, now, result) end)
end
return result

-- name: evict
-- P, owner, max deliveries, then triples: lease id, what ('f'inished, 'i'nterrupted, 'l'ost), reason
local owner, max, now, result, known = ARGV[2], tonumber(ARGV[3]), clock(''), {0}, {}
for i = 4, #ARGV, 3 do known[ARGV[i]] = {ARGV[i + 1], ARGV[i + 2]} end
return_all(owner, function(source, raw, id)
    local state = known[id]
    if not state then
        result[1] = result[1] + 1
        return raw
    elseif state[1] == 'i' then
        return count_delivery(source, raw, max, now, result)
    elseif state[1] == 'l' then
        local plain, deliveries = unmark(raw)
        result[#result + 1] = bury(source, plain, deliveries, state[2], now)
    end
end)
return result

-- name: promote
-- P, now, limit; the earliest due first, whatever their queue
local now, limit, due = clock(ARGV[2]), tonumber(ARGV[3]), {}
local sources = redis.call('SMEMBERS', P .. 'delayed')
for _, source in ipairs(sources) do
    local found = redis.call(
        'ZRANGEBYSCORE', P .. 'delayed:' .. source, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
    for i = 1, #found, 2 do due[#due + 1] = {source, found[i], tonumber(found[i + 1])} end
end
table.sort(due, function(a, b)
    if a[3] == b[3] then
        return tonumber(string.match(a[2], '^%d+')) < tonumber(string.match(b[2], '^%d+'))
    end
    return a[3] < b[3]
end)
local count, nearest = math.min(#due, limit), false
for i = 1, count do
    local source, member = due[i][1], due[i][2]
    redis.call('LPUSH', source, string.match(member, '^%d+\n(.*)$'))
    redis.call('ZREM', P .. 'delayed:' .. source, member)
end
for _, source in ipairs(sources) do
    local first = redis.call('ZRANGE', P .. 'delayed:' .. source, 0, 0, 'WITHSCORES')
    if not first[1] then
        redis.call('SREM', P .. 'delayed', source)
    elseif not nearest or tonumber(first[2]) < tonumber(nearest) then
        nearest = first[2]
    end
end
return {count, nearest}

-- name: stats
-- P, sources...; returns ready, leased, delayed, dead of each
local leased = {}
for _, owner in ipairs(redis.call('ZRANGE', P .. 'owners', 0, -1)) do
    local flat = redis.call('HGETALL', P .. 'leases:' .. owner)
    for i = 1, #flat, 2 do
        local source = flat[i + 1]
        local _, left = look_at(batch_key(owner, flat[i]))
        leased[source] = (leased[source] or 0) + left
    end
end
local result = {}
for i = 2, #ARGV do
    local source = ARGV[i]
    result[#result + 1] = {
        redis.call('LLEN', source),
        leased[source] or 0,
        redis.call('ZCARD', P .. 'delayed:' .. source),
        tonumber(redis.call('HGET', P .. 'dead:counts', source) or 0),
    }
end
return result

-- name: dead_letters
-- P, offset, limit; returns id, source, raw, reason, died at, deliveries of each
local letters, limit = {}, tonumber(ARGV[3])
if limit < 1 then return letters end
for _, id in ipairs(redis.call('ZREVRANGE', P .. 'dead', ARGV[2], ARGV[2] + limit - 1)) do
    local letter = cmsgpack.unpack(redis.call('HGET', P .. 'dead:letters', id))
    letters[#letters + 1] = {id, unpack(letter)}
end
return letters

-- name: retry_dead
-- P, what ('retry' or 'drop'), ids...
local count = 0
for i = 3, #ARGV do
    local packed = redis.call('HGET', P .. 'dead:letters', ARGV[i])
    if packed then
        local letter = cmsgpack.unpack(packed)
        if ARGV[2] == 'retry' then redis.call('LPUSH', letter[1], letter[2]) end
        redis.call('HDEL', P .. 'dead:letters', ARGV[i])
        redis.call('ZREM', P .. 'dead', ARGV[i])
        redis.call('HINCRBY', P .. 'dead:counts', letter[1], -1)
        count = count + 1
    end
end
return count
