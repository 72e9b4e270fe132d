-- The scripts of RedisStore. Each runs as one atomic operation; sections are split at "-- name:".
-- What passes and what waits is decided as gate.py decides it; the contract's tests compare both.
--
-- Keys, all behind the store's key prefix (P, which ends in "celeriac:limits:"); each expires:
--   P lock:<key>     hash    holder, and until: the Unix seconds up to which it holds
--   P cells:<gate>   hash    piece of the window -> starts in it
--   P held:<gate>    zset    task -> Unix seconds until which it holds its place
--   P since:<gate>   hash    task -> Unix seconds since when it runs
--   P typical:<gate> string  seconds that tasks run lately
--   P line:<gate>    zset    task that waits -> its place in line
--   P due:<gate>     zset    task that waits -> Unix seconds when it will ask again
--   P place:<gate>   int     the latest place in line

-- name: prelude
local P = ARGV[1]

local function clock(given)
    if given ~= '' then return tonumber(given) end
    local t = redis.call('TIME')
    return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function milliseconds(seconds)
    return math.max(1, math.ceil(seconds * 1000))
end

-- name: lock
-- P, now, then of each lock: key, holder, seconds
local now, holders = clock(ARGV[2]), {}
for i = 3, #ARGV, 3 do
    local key, holder, seconds = P .. 'lock:' .. ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
    local present = redis.call('HMGET', key, 'holder', 'until')
    if present[1] and present[1] ~= holder and tonumber(present[2]) > now then
        holder = present[1]
    else
        redis.call('HSET', key, 'holder', holder, 'until', tostring(now + seconds))
        redis.call('PEXPIRE', key, milliseconds(seconds))
    end
    holders[#holders + 1] = holder
end
return holders

-- name: extend
-- P, now, then of each lock: key, holder, seconds
local now, extended = clock(ARGV[2]), {}
for i = 3, #ARGV, 3 do
    local key, seconds = P .. 'lock:' .. ARGV[i], tonumber(ARGV[i + 2])
    local present = redis.call('HMGET', key, 'holder', 'until')
    local holds = present[1] == ARGV[i + 1] and tonumber(present[2]) > now
    if holds then
        redis.call('HSET', key, 'until', tostring(now + seconds))
        redis.call('PEXPIRE', key, milliseconds(seconds))
    end
    extended[#extended + 1] = holds and 1 or 0
end
return extended

-- name: unlock
-- P, then of each lock: key, holder, seconds
local unlocked = {}
for i = 2, #ARGV, 3 do
    local key = P .. 'lock:' .. ARGV[i]
    local holds = redis.call('HGET', key, 'holder') == ARGV[i + 1]
    unlocked[#unlocked + 1] = holds and redis.call('DEL', key) or 0
end
return unlocked

-- name: enter
-- P, task, chance, now, then of each gate: key, limit, window ('' for what runs at once), lease
local CELLS, LONGEST, SHORTEST, FORGET_AFTER = 100, 30, 0.02, 60
local FIRST_LOOKS_EVERY, EACH_LATER, UNKNOWN = 1, 0.05, 1
local task, chance, now = ARGV[2], tonumber(ARGV[3]), clock(ARGV[4])

local function used_in_window(gate)
    local oldest_kept, oldest, used = gate.cell - CELLS, nil, 0
    local flat = redis.call('HGETALL', P .. 'cells:' .. gate.key)
    for i = 1, #flat, 2 do
        local cell = tonumber(flat[i])
        if cell < oldest_kept then
            redis.call('HDEL', P .. 'cells:' .. gate.key, flat[i])
        else
            used = used + tonumber(flat[i + 1])
            if not oldest or cell < oldest then oldest = cell end
        end
    end
    return used, oldest and (oldest + CELLS + 1) * gate.window / CELLS
end

local function used_at_once(gate)
    for _, gone in ipairs(redis.call('ZRANGEBYSCORE', P .. 'held:' .. gate.key, '-inf', now)) do
        redis.call('ZREM', P .. 'held:' .. gate.key, gone)
        redis.call('HDEL', P .. 'since:' .. gate.key, gone)
    end
    local held = redis.call('ZCARD', P .. 'held:' .. gate.key)
    if redis.call('ZSCORE', P .. 'held:' .. gate.key, task) then return held - 1, true end
    return held, false
end

-- Returns whether the task passes, and else when to ask again.
local function judge(gate)
    local line, dues = P .. 'line:' .. gate.key, P .. 'due:' .. gate.key
    for _, gone in ipairs(redis.call('ZRANGEBYSCORE', dues, '-inf', now - FORGET_AFTER)) do
        redis.call('ZREM', line, gone)
        redis.call('ZREM', dues, gone)
    end
    local place = redis.call('ZRANK', line, task)
    local own_due = tonumber(redis.call('ZSCORE', dues, task) or 'inf')
    local overdue = redis.call('ZCOUNT', dues, '-inf', now) - (own_due <= now and 1 or 0)
    local rank = place or redis.call('ZCARD', line)
    gate.waits = place
    local used, next_free, holds
    if gate.window then
        used, next_free = used_in_window(gate)
    else
        used, holds = used_at_once(gate)
    end
    local free = gate.limit - used
    if free > 0 and (place or holds or overdue < free) then return true end
    local pace, first, longest
    if gate.window then
        pace, first, longest = gate.window / gate.limit, 0, LONGEST
        if next_free and free <= 0 then first = math.max(next_free - now, 0) end
    else
        pace = tonumber(redis.call('GET', P .. 'typical:' .. gate.key) or UNKNOWN) / gate.limit
        first, longest = pace, math.min(LONGEST, FIRST_LOOKS_EVERY + EACH_LATER * rank)
    end
    local wait = first + rank * pace
    if wait > longest then
        wait = longest * (0.5 + chance / 2)
    else
        wait = wait * (1 + chance / 10)
    end
    return false, now + math.max(wait, SHORTEST)
end

local gates, due = {}, nil
for i = 5, #ARGV, 4 do
    local gate = {key = ARGV[i], limit = tonumber(ARGV[i + 1]), window = tonumber(ARGV[i + 2]), lease = tonumber(ARGV[i + 3])}
    if gate.window then gate.cell = math.floor(now * CELLS / gate.window) end
    local again
    gate.passes, again = judge(gate)
    if not gate.passes and (not due or again > due) then due = again end
    gates[#gates + 1] = gate
end

for _, gate in ipairs(gates) do
    local line, dues, place = P .. 'line:' .. gate.key, P .. 'due:' .. gate.key, P .. 'place:' .. gate.key
    if not due then
        redis.call('ZREM', line, task)
        redis.call('ZREM', dues, task)
        if gate.window then
            redis.call('HINCRBY', P .. 'cells:' .. gate.key, string.format('%.0f', gate.cell), 1)
            redis.call('PEXPIRE', P .. 'cells:' .. gate.key, milliseconds(gate.window * 1.1))
        else
            redis.call('ZADD', P .. 'held:' .. gate.key, now + gate.lease, task)
            redis.call('HSETNX', P .. 'since:' .. gate.key, task, tostring(now))
            redis.call('PEXPIRE', P .. 'held:' .. gate.key, milliseconds(gate.lease))
            redis.call('PEXPIRE', P .. 'since:' .. gate.key, milliseconds(gate.lease))
        end
    elseif gate.waits or not gate.passes then
        if not gate.waits then redis.call('ZADD', line, redis.call('INCR', place), task) end
        redis.call('ZADD', dues, due, task)
        local keep = milliseconds(LONGEST + 2 * FORGET_AFTER)
        redis.call('PEXPIRE', line, keep)
        redis.call('PEXPIRE', dues, keep)
        redis.call('PEXPIRE', place, keep)
    end
end
return due and string.format('%.6f', due)

-- name: renew
-- P, task, seconds, now, gates...
local now, seconds = clock(ARGV[4]), tonumber(ARGV[3])
for i = 5, #ARGV do
    local held, since = P .. 'held:' .. ARGV[i], P .. 'since:' .. ARGV[i]
    redis.call('ZADD', held, now + seconds, ARGV[2])
    redis.call('HSETNX', since, ARGV[2], tostring(now))
    redis.call('PEXPIRE', held, milliseconds(seconds))
    redis.call('PEXPIRE', since, milliseconds(seconds))
end

-- name: leave
-- P, task, now, gates...
local NEWEST, TYPICAL_KEPT = 0.2, 86400000
local now = clock(ARGV[3])
for i = 4, #ARGV do
    local held, since, typical = P .. 'held:' .. ARGV[i], P .. 'since:' .. ARGV[i], P .. 'typical:' .. ARGV[i]
    redis.call('ZREM', held, ARGV[2])
    local begun = redis.call('HGET', since, ARGV[2])
    if begun then
        redis.call('HDEL', since, ARGV[2])
        local ran = math.max(now - tonumber(begun), 0)
        local known = tonumber(redis.call('GET', typical) or ran)
        redis.call('SET', typical, tostring(known + (ran - known) * NEWEST), 'PX', TYPICAL_KEPT)
    end
end
