-- Prepended to all scripts. KEYS[1] is the prefix of every key; its braces keep all keys in one cluster slot.
local prefix = KEYS[1]

local function key(...)
    return prefix .. table.concat({ ... }, ':')
end

-- Milliseconds since 1970, by this server's clock.
local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether the job is reserved by the owner of this attempt.
local function is_mine(id, attempt)
    local found = redis.call('HMGET', key('job', id), 'attempts', 'reserved')
    return found[1] == attempt and found[2] == '1'
end

-- Acquires a lock that is free.
local function lock(name, owner, time)
    return redis.call('SET', key('lock', name), owner, 'NX', 'PX', math.max(1, time))
end

local function unlock(name, owner)
    if redis.call('GET', key('lock', name)) == owner then
        redis.call('DEL', key('lock', name))
    end
end
