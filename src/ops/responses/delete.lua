-- KEYS as in put.lua. Says whether the answer was there.
local member = redis.call('STRLEN', KEYS[1]) .. ':' .. KEYS[1]
if redis.call('UNLINK', KEYS[1]) == 0 then return 0 end
if redis.call('ZREM', KEYS[2], member) == 1 then
  redis.call('DECRBY', KEYS[3], string.match(member, '^%d+'))
end
return 1
