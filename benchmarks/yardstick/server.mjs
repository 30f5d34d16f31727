// The yardstick: the same work as Getyousite in plain Fastify. One primary process and WORKERS workers on
// 127.0.0.1:PORT.
//
// Environment: PORT, WORKERS, PG_URL, REDIS_URL, and EMAIL and PASSWORD of the account that it creates.
// It uses its own schema, `yardstick`, so that it can share a database with the platform.
import cluster from 'node:cluster'
import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import argon2 from 'argon2'
import Fastify from 'fastify'
import Redis from 'ioredis'
import pg from 'pg'

const { PORT, WORKERS = '2', PG_URL, REDIS_URL, EMAIL, PASSWORD } = process.env
const SITES = 20

// The declared cost of a password hash, the same as in accounts/credentials/hashing.py.
const HASH = { type: argon2.argon2id, memoryCost: 65536, timeCost: 3, parallelism: 4 }

// The columns of the list of sites. The single site has the blueprint too.
const COLUMNS = 'id, owner_id, name, subdomain, custom_domain, status, created_at, updated_at'

const SCHEMA = `
  CREATE SCHEMA IF NOT EXISTS yardstick;
  CREATE TABLE IF NOT EXISTS yardstick.account (id serial PRIMARY KEY, email text UNIQUE NOT NULL, password text NOT NULL);
  CREATE TABLE IF NOT EXISTS yardstick.site (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id int NOT NULL,
    name text NOT NULL,
    subdomain text UNIQUE NOT NULL,
    custom_domain text UNIQUE,
    status text NOT NULL DEFAULT 'draft',
    blueprint jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
  );
  CREATE INDEX IF NOT EXISTS site_owner ON yardstick.site (owner_id);
  CREATE TABLE IF NOT EXISTS yardstick.event (
    id bigserial PRIMARY KEY,
    site_id uuid NOT NULL,
    kind text,
    path text,
    referrer text,
    ip text,
    ua text,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX IF NOT EXISTS event_site ON yardstick.event (site_id);
  CREATE INDEX IF NOT EXISTS event_kind ON yardstick.event (kind);
  CREATE INDEX IF NOT EXISTS event_at ON yardstick.event (created_at);`

if (cluster.isPrimary) {
  await seed()
  const keys = { JWT_SECRET: randomBytes(36).toString('base64'), COOKIE_SECRET: randomBytes(36).toString('base64') }
  for (let number = 0; number < Number(WORKERS); number++) cluster.fork(keys)
  cluster.on('exit', (worker, code) => {
    console.error(`worker ${worker.process.pid} ended with code ${code}`)
    process.exit(1) // a yardstick with fewer workers would measure something else
  })
} else {
  await serve()
}

/** Create the schema, one account and its sites, unless they exist. */
async function seed () {
  const client = new pg.Client({ connectionString: PG_URL })
  await client.connect()
  await client.query(SCHEMA)
  const hash = await argon2.hash(PASSWORD, HASH)
  await client.query('INSERT INTO yardstick.account (email, password) VALUES ($1, $2) ON CONFLICT DO NOTHING', [EMAIL, hash])
  const { rows: [owner] } = await client.query('SELECT id FROM yardstick.account WHERE email = $1', [EMAIL])
  for (let number = 0; number < SITES; number++) {
    await client.query(
      'INSERT INTO yardstick.site (owner_id, name, subdomain, blueprint) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
      [owner.id, `Site ${number}`, `site-${number}`, { version: 1, pages: [] }]
    )
  }
  await client.end()
}

/** Run one worker: the usual plugins of a Fastify API, then the routes. */
async function serve () {
  const pool = new pg.Pool({ connectionString: PG_URL, max: 10 })
  const redis = new Redis(REDIS_URL)
  const app = Fastify({ logger: false, bodyLimit: 10 * 1024 * 1024 })
  await app.register(helmet)
  await app.register(cors, { origin: ['https://app.example.com'], credentials: true })
  await app.register(cookie, { secret: process.env.COOKIE_SECRET })
  await app.register(jwt, { secret: process.env.JWT_SECRET, sign: { expiresIn: '15m' } })
  await app.register(rateLimit, { max: 1e9, timeWindow: '1 minute', redis }) // counts each request, refuses none
  const signedIn = { onRequest: async request => { await request.jwtVerify() } }

  // `name` makes node-postgres prepare each statement once for a connection.
  const query = async (name, text, values) => (await pool.query({ name, text, values })).rows

  app.get('/health', async () => ({ status: 'ok', timestamp: new Date().toISOString() }))

  app.post('/api/v1/auth/login', async (request, reply) => {
    const [account] = await query('account', 'SELECT id, password FROM yardstick.account WHERE email = $1', [request.body.email])
    if (!account || !await argon2.verify(account.password, request.body.password)) {
      return reply.code(401).send({ detail: 'Invalid credentials' })
    }
    const refresh = app.jwt.sign({ id: account.id, kind: 'refresh' }, { expiresIn: '30d' })
    reply.setCookie('refresh', refresh, { httpOnly: true, secure: true, sameSite: 'strict', path: '/' })
    return { access: app.jwt.sign({ id: account.id }) }
  })

  app.get('/api/v1/sites/:id', signedIn, async (request, reply) => {
    const [site] = await query(
      'site',
      `SELECT ${COLUMNS}, blueprint FROM yardstick.site WHERE id = $1 AND owner_id = $2 AND deleted_at IS NULL`,
      [request.params.id, request.user.id]
    )
    return site ?? reply.code(404).send({ detail: 'Not found' })
  })

  app.get('/api/v1/sites', signedIn, async request => {
    const results = await query(
      'sites',
      `SELECT ${COLUMNS} FROM yardstick.site WHERE owner_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC, id LIMIT 20`,
      [request.user.id]
    )
    return { results }
  })

  app.post('/event', async (request, reply) => {
    const { site, path, referrer } = request.body
    await query(
      'event',
      'INSERT INTO yardstick.event (site_id, kind, path, referrer, ip, ua) VALUES ($1, $2, $3, $4, $5, $6)',
      [site, 'pageview', path, referrer ?? '', request.ip, request.headers['user-agent'] ?? '']
    )
    return reply.code(202).send()
  })

  await app.listen({ host: '127.0.0.1', port: Number(PORT) })
}
