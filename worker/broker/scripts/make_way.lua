-- Stands before what appends to streams: a key that should be one, and holds something else, is moved away.
-- A transaction goes on behind a command that fails, and would then delete what it could not append.

local function make_way(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'stream' or kind == 'none' then
    return false
  end
  redis.call('RENAME', key, 'siem:displaced:' .. key)
  return true
end
