-- What the scripts share; it stands before each of them.
-- KEYS: 1 leases, 2 state, 3 urgent, 4 bulk.  ARGV: 1 integration, 2 prefix of its slots.

-- First of all writes one that needs no memory: after it a script may go on even if Redis is full. Claims
-- and orders must, for only what is sent frees memory.
redis.call('HDEL', KEYS[2], '')
make_way(KEYS[3])
make_way(KEYS[4])

-- Adds to a count. One that damage made no number begins again, and is right once the backlog is empty.
local function add(field, by)
  local reply = redis.pcall('HINCRBY', KEYS[2], field, by)
  if type(reply) ~= 'table' then
    return reply
  end
  redis.call('HSET', KEYS[2], field, math.max(0, by), 'recount', 1)
  return math.max(0, by)
end

local function member(slot)
  return ARGV[1] .. '/' .. slot
end

-- A lane's group is made when it is first needed, and again if the stream was lost and came back.
local function pending_in(lane)
  local pending = redis.pcall('XPENDING', lane, GROUP)
  if pending.err then
    redis.call('XGROUP', 'CREATE', lane, GROUP, '0')
    return 0
  end
  return pending[1]
end

-- Chunks that no slot has claimed yet.
local function unclaimed(lane)
  local length = redis.call('XLEN', lane)
  if length == 0 then
    return 0
  end
  return length - pending_in(lane)
end

-- Up to where a lane's chunks were claimed; its group is there.
local function last_delivered(lane)
  local group = redis.call('XINFO', 'GROUPS', lane)[1]
  for place = 1, #group, 2 do
    if group[place] == 'last-delivered-id' then
      return group[place + 1]
    end
  end
end

-- Counts that damage has touched are right again once nothing is left to count.
local function recount()
  if redis.call('HEXISTS', KEYS[2], 'recount') == 1
    and redis.call('XLEN', KEYS[3]) + redis.call('XLEN', KEYS[4]) == 0 then
    redis.call('HSET', KEYS[2], 'backlog_events', 0, 'unclaimed_events', 0, 'unclaimed_bytes', 0)
    redis.call('HDEL', KEYS[2], 'recount')
  end
end

-- The id behind which a lane has what comes, where all that it has is claimed.
local function behind(lane)
  return redis.call('XLEN', lane) > 0 and last_delivered(lane) or '0-0'
end

local function work_waits()
  return unclaimed(KEYS[3]) + unclaimed(KEYS[4]) > 0
end

-- The next epoch of a slot. Where damage left no number, the time is one that no order had before.
local function next_epoch(key)
  local epoch = redis.pcall('HINCRBY', key, 'epoch', 1)
  if type(epoch) == 'table' then
    epoch = now_ms()
    redis.call('HSET', key, 'epoch', epoch)
  end
  return epoch
end

local function epoch_of(key)
  return number(redis.call('HGET', key, 'epoch'), nil) or next_epoch(key)
end

local function order(slot, lease_ms)
  local epoch = next_epoch(ARGV[2] .. slot)
  local key, now = ARGV[2] .. slot, now_ms()
  redis.call('HSET', key, 'state', 'ordered')
  redis.call('HSET', KEYS[2], 'ordered_at', now)
  redis.call('ZADD', KEYS[1], now + lease_ms, member(slot))
  return epoch
end
