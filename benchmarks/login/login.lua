-- Signs in with BENCH_EMAIL and BENCH_PASSWORD. wrk takes one script, so the report comes along.
dofile(os.getenv("BENCH_FOLDER") .. "/load.lua")

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = string.format('{"email":"%s","password":"%s"}', os.getenv("BENCH_EMAIL"), os.getenv("BENCH_PASSWORD"))
