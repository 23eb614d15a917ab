-- Stands before what appends to streams: a key that should be one, and holds something else, is moved away.
-- `wanted` is another type that it should have.
-- A transaction goes on behind a command that fails, and would then delete what it could not append.

-- The sweeper logs it, unless the caller does. The note may fail: the events that come must not fail with it.
local function make_way(key, is_reported, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind == (wanted or 'stream') or kind == 'none' then
    return false
  end
  redis.call('RENAME', key, 'siem:displaced:' .. key)
  if not is_reported then
    redis.pcall('SADD', 'siem:displaced', key)
  end
  return true
end
