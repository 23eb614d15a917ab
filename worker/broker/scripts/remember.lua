-- Keeps a text for a while; of one tenant's, the oldest are forgotten beyond its share of bytes.
-- KEYS: 1 the text, 2 the tenant's index (its time -> "<bytes>:<key>"), 3 the bytes of all in the index.
-- ARGV: 1 the text, 2 seconds to keep it, 3 now (ms), 4 the share in bytes, 5 the bytes of this text,
-- 6 the bytes that it was indexed with before, or 0.
local place, index, total = KEYS[1], KEYS[2], KEYS[3]
local seconds, share = tonumber(ARGV[2]), tonumber(ARGV[4])

local function forget(member)
  redis.call('ZREM', index, member)
  return redis.call('DECRBY', total, string.match(member, '^%d+'))
end

redis.call('SET', place, ARGV[1], 'EX', seconds)
local before = ARGV[6] .. ':' .. place
if redis.call('ZSCORE', index, before) then
  forget(before)
end
redis.call('ZADD', index, ARGV[3], ARGV[5] .. ':' .. place)
local held = redis.call('INCRBY', total, ARGV[5])
local expired = ARGV[3] - seconds * 1000
for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', expired, 'LIMIT', 0, 100)) do
  held = forget(member)
end
while held > share do
  local oldest = redis.call('ZRANGE', index, 0, 0)[1]
  if not oldest then
    break
  end
  redis.call('DEL', string.match(oldest, ':(.*)$'))
  held = forget(oldest)
end
redis.call('EXPIRE', index, seconds * 2)
redis.call('EXPIRE', total, seconds * 2)
