-- KEYS[1]  the answer
-- KEYS[2]  sorted set of all answers, `<bytes>:<key>` by the microsecond in which they expire
-- KEYS[3]  bytes of all of them
-- ARGV: the answer, seconds that it is kept, the most bytes of all answers
local key, all, total = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function forget(member)
  if redis.call('ZREM', all, member) == 1 then
    redis.call('DECRBY', total, string.match(member, '^%d+'))
  end
end

if redis.call('EXISTS', key) == 1 then forget(redis.call('STRLEN', key) .. ':' .. key) end
redis.call('SET', key, ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', all, string.format('%.0f', now + tonumber(ARGV[2]) * 1000000), #ARGV[1] .. ':' .. key)
redis.call('INCRBY', total, #ARGV[1])
-- These are not there any more.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', all, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)) do forget(member) end
-- The oldest go while there is too much.
while tonumber(redis.call('GET', total)) > tonumber(ARGV[3]) do
  local oldest = redis.call('ZRANGE', all, 0, 0)[1]
  if not oldest then break end
  redis.call('UNLINK', string.match(oldest, '^%d+:(.*)$'))
  forget(oldest)
end
return 0
