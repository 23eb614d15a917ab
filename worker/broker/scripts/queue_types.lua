-- Moves away what stands under a key of Celery's and is of another type than Celery's.
-- KEYS: these.  ARGV: the type of each.  Returns those that were moved away.

local moved = {}
for place, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= ARGV[place] then
    redis.call('RENAME', key, 'siem:displaced:' .. key)
    moved[#moved + 1] = key
  end
end
return moved
