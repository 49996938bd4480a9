-- ARGV: lease, seconds that it lasts, tokens, money, budget of the day, of the month, and for each scope its name, requests, tokens and requests at a time.
-- What is '' has no limit.
--
-- Gives: what is over (0: nothing), seconds until that may fit (0: when the day or the month ends), day, money in it, month, money in it, and for each scope
-- requests, seconds until they are gone, tokens with those that are held, seconds until they are gone.
expire()
local tokens, nano = tonumber(ARGV[3]), tonumber(ARGV[4])
local over, pause = 0, 0

for at = 7, #ARGV, 4 do
  local scope, requests, per_minute, running = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local held = count('held:' .. scope)
  if running and count('run:' .. scope) >= running then
    over, pause = 3, 1
  elseif requests and sum('requests:' .. scope) >= requests then
    over, pause = 1, math.max(wait('requests:' .. scope, math.max(requests - 1, 0)), 1)
  elseif per_minute and sum('tokens:' .. scope) + held + tokens > per_minute then
    over, pause = 2, math.max(wait('tokens:' .. scope, math.max(per_minute - tokens - held, 0)), 1)
  end
  if over > 0 then break end
end

local day, in_day, month, in_month = money()
if over == 0 then
  local others = count('usd')
  local function check(which, of, budget)
    -- What costs nothing fits as long as there is something left.
    if over > 0 or not budget or (of < budget and of + others + nano <= budget) then return end
    over = which
    -- What others hold may come back much sooner than a day ends.
    if of + nano <= budget and others > 0 then pause = 1 end
  end
  check(5, in_month, tonumber(ARGV[6]))
  check(4, in_day, tonumber(ARGV[5]))
end

if over == 0 then
  local held = { tokens, nano }
  for at = 7, #ARGV, 4 do
    local scope = ARGV[at]
    held[#held + 1] = scope
    add('requests:' .. scope, 1)
    redis.call('HINCRBY', state, 'run:' .. scope, 1)
    redis.call('HINCRBY', state, 'held:' .. scope, whole(tokens))
  end
  redis.call('HINCRBY', state, 'usd', whole(nano))
  redis.call('HSET', state, 'lease:' .. ARGV[1], cmsgpack.pack(held))
  redis.call('ZADD', leases, whole(now + tonumber(ARGV[2])), ARGV[1])
  keep()
end

local reply = { over, pause, day, in_day, month, in_month }
for at = 7, #ARGV, 4 do
  local function gone(window)
    if sum(window) == 0 then return 0 end
    return math.max(count(window .. ':at') + SPAN - now, 1)
  end
  local scope = ARGV[at]
  local held, requests, used = count('held:' .. scope), 'requests:' .. scope, 'tokens:' .. scope
  reply[#reply + 1] = sum(requests)
  reply[#reply + 1] = gone(requests)
  reply[#reply + 1] = sum(used) + held
  reply[#reply + 1] = held > 0 and SPAN or gone(used)
end
return reply
