-- Stands in front of claim.lua, and does the same where a worker that stays claims the only chunk that there is: while
-- events trickle in, nearly every claim is such a one. What a script defines costs Redis as much as what it does, and of
-- the rest nothing is defined then. Whatever is out of the ordinary is left to that, before anything is done.

-- The lane that has one chunk, which no slot has claimed, if the other has none.
local function lane_of_one()
  local urgent, bulk = redis.pcall('XLEN', KEYS[3]), redis.pcall('XLEN', KEYS[4])
  local lane = urgent == 1 and bulk == 0 and KEYS[3] or urgent == 0 and bulk == 1 and KEYS[4]
  local pending = lane and redis.pcall('XPENDING', lane, GROUP)
  return pending and not pending.err and pending[1] == 0 and lane
end

local function claim_plainly()
  local key = ARGV[2] .. ARGV[3]
  local slot = redis.call('HMGET', key, 'state', 'epoch', 'chunks', 'carried', 'attempts', 'losses', 'suspects',
    'alone', 'doubtful', 'reissues', 'stretched')
  if slot[1] ~= 'ordered' or slot[2] ~= ARGV[4] then
    return
  end
  for place = 3, #slot do
    if slot[place] then
      return
    end
  end
  local lane = lane_of_one()
  local state = lane and redis.call('HMGET', KEYS[2], 'held', 'breaker', 'rests_until', 'claims', 'unclaimed_events',
    'unclaimed_bytes')
  if not lane or state[1] == '1' or state[2] or rests(state[3]) or not are_whole(state[4], state[5], state[6]) then
    return
  end
  -- Needs no memory: after it a script may go on even if Redis is full.
  redis.call('HDEL', KEYS[2], 'ordered_at')
  local reply = redis.call('XREADGROUP', 'GROUP', GROUP, ARGV[3], 'COUNT', 1, 'STREAMS', lane, '>')
  if not reply then
    return
  end
  local entries, now = reply[1][2], now_ms()
  local events, bytes = size(entries[1])
  redis.call('HSET', key, 'state', 'sending', 'since', now, 'chunks', 1, 'shared', resolve(entries),
    'holder', string.format('%d %s', now, ARGV[7]))
  redis.call('HSET', KEYS[2], 'claims', state[4] + 1, 'unclaimed_events', state[5] - events,
    'unclaimed_bytes', state[6] - bytes, 'claimed_at', now)
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[5]), ARGV[1] .. '/' .. ARGV[3])
  local is_urgent, document = lane == KEYS[3], redis.call('HGET', KEYS[5], ARGV[1])
  return {
    'batch', now, document or '', '', 0, 0, is_urgent and entries or {}, is_urgent and {} or entries, false, 0, 0, 0,
  }
end

local claimed = ARGV[8] and claim_plainly()
if claimed then
  return claimed
end

