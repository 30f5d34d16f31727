-- Changes the block of this thread, with the ETag of the response before. wrk accepts one script only, so this one
-- loads the report.
dofile(os.getenv("BENCH_FOLDER") .. "/load.lua")

local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local paths, count, etag = {}, 0, "*"
for path in os.getenv("BENCH_PATHS"):gmatch("%S+") do paths[#paths + 1] = path end
wrk.headers["Content-Type"] = "application/json"

function request()
  count = count + 1
  wrk.headers["If-Match"] = etag
  return wrk.format("PATCH", paths[number], nil, '{"props":{"title":"Bread, ' .. count .. '"}}')
end

function response(status, headers)
  for name, value in pairs(headers) do
    if name:lower() == "etag" then etag = value end
  end
end
