-- Removes what was sent, unless there is something newer to send by now.
-- KEYS: 1 a hash.  ARGV: 1 a field, 2 the value that was sent.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
