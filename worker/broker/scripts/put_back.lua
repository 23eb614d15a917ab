-- Puts an entry that was set aside back into its stream; nothing happens if another process has done it.
-- KEYS: 1 siem:unrecordable, 2 the stream.  ARGV: 1 its id in the first; then field, value, field, value, …
-- Returns 1 if it was put back, else 0.

if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
make_way(KEYS[2])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
return 1
