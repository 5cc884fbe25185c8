// PostgreSQL 17 with TimescaleDB's Community edition, compiled to WebAssembly, on a port:
//
//   node serve.mjs PORT
//
// There is one backend, and it has one session. Each client gets names of its own for its
// prepared statements, and the backend for as long as its transaction takes; the others wait.
import net from 'node:net'
import { PGlite } from '@electric-sql/pglite'
import { timescaledb } from '@electric-sql/pglite/timescaledb'

const SESSION = `set client_min_messages = notice; set timezone = 'UTC'; set search_path = "$user", public`
const LIBRARY = 'timescaledb-tsl-2.23.0-dev' // the part under the Timescale License
const SSL_REQUEST = 80877103
const GSS_REQUEST = 80877104
const CANCEL_REQUEST = 80877102
const UNIT_BYTES = 65_536 // what is handed to the backend at once, at least
const NAMED = 'PBDCE' // Parse, Bind, Describe, Close, Execute: they name statements or portals

const db = await PGlite.create({ extensions: { timescaledb } })
await db.exec('create extension if not exists timescaledb')
await db.exec(SESSION)
await db.exec("select time_bucket('1h', now())") // loads the part under the Apache License
await db.exec(`load '${LIBRARY}'`)

const text = (value) => Buffer.from(value + '\0')

function int32(number) {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(number)
  return bytes
}

function message(type, ...parts) {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from(type, 'latin1'), int32(body.length + 4), body])
}

const parameters = {
  server_version: (await db.query('show server_version')).rows[0].server_version,
  server_encoding: 'UTF8',
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  integer_datetimes: 'on',
  standard_conforming_strings: 'on',
  is_superuser: 'on',
  session_authorization: 'postgres',
  application_name: '',
}

const welcome = (id) =>
  Buffer.concat([
    message('R', int32(0)),
    ...Object.entries(parameters).map(([name, value]) => message('S', text(name), text(value))),
    message('K', int32(id), int32(0)),
    message('Z', Buffer.from('I')),
  ])

// The transaction's state in the ReadyForQuery that ends an answer, or null.
function state(answer) {
  const start = answer.length - 6
  const ready = start >= 0 && answer[start] === 0x5a && answer.readUInt32BE(start + 1) === 5
  return ready ? String.fromCharCode(answer[answer.length - 1]) : null
}

let owner = null // the client whose transaction is open
let waiting = []
let busy = false
let lastId = 0

// The message with the client's own names in the places of those that it chose.
function renamed(client, bytes) {
  const type = String.fromCharCode(bytes[0])
  if (!NAMED.includes(type)) return bytes
  const own = (name) => (name === '' ? '' : `c${client.id}_${name}`)
  const read = (from) => {
    const end = bytes.indexOf(0, from)
    return [bytes.toString('utf8', from, end), end + 1]
  }
  if (type === 'B') {
    const [portal, afterPortal] = read(5)
    const [statement, rest] = read(afterPortal)
    return message(type, text(own(portal)), text(own(statement)), bytes.subarray(rest))
  }
  if (type === 'P' || type === 'E') {
    const [name, rest] = read(5)
    if (type === 'P' && name) client.statements.add(own(name))
    return message(type, text(own(name)), bytes.subarray(rest))
  }
  const kind = bytes.subarray(5, 6)
  const [name, rest] = read(6)
  if (type === 'C' && kind.toString() === 'S') client.statements.delete(own(name))
  return message(type, kind, text(own(name)), bytes.subarray(rest))
}

async function forget(client) {
  for (const name of client.statements) await db.exec(`DEALLOCATE "${name}"`).catch(() => {})
  client.statements.clear()
}

async function run(client, unit) {
  let answer
  try {
    answer = Buffer.from(await db.execProtocolRaw(unit))
  } catch (error) {
    console.error('the backend ended:', error?.message)
    process.exit(70)
  }
  const now = state(answer)
  if (client.resets && now === 'I') {
    client.resets = false
    await db.exec(SESSION)
  }
  if (client.gone) {
    if (now !== 'I') await db.exec('ROLLBACK').catch(() => {})
    await forget(client)
    owner = null
    return
  }
  if (answer.length) client.socket.write(answer)
  if (now === 'I') {
    owner = null
    if (client.units.length) waiting.push(client)
  }
}

async function pump() {
  if (busy) return
  busy = true
  try {
    for (;;) {
      owner ??= waiting.shift() ?? null
      if (!owner) break
      const unit = owner.units.shift()
      if (!unit) break // in the middle of a transaction, and its client has yet to speak
      await run(owner, unit)
    }
  } finally {
    busy = false
  }
}

function leave(client) {
  if (client.gone) return
  client.gone = true
  client.units = [new Uint8Array(message('Q', text('ROLLBACK')))]
  waiting = waiting.filter((other) => other !== client)
  if (owner !== client) waiting.push(client)
  setImmediate(pump)
}

function greet(client, length, code) {
  if (code === SSL_REQUEST || code === GSS_REQUEST) client.socket.write('N')
  else if (code === CANCEL_REQUEST) client.socket.end()
  else {
    client.started = true
    client.socket.write(welcome(client.id))
  }
}

function take(client, bytes) {
  const type = String.fromCharCode(bytes[0])
  if (type === 'X') {
    client.socket.end()
    leave(client)
    return
  }
  if (type === 'Q' && /\b(RESET|DISCARD)\s+ALL\b/i.test(bytes.toString('latin1'))) client.resets = true
  client.part.push(renamed(client, bytes))
  client.partBytes += bytes.length
  if ('QSH'.includes(type) || client.partBytes > UNIT_BYTES) {
    client.units.push(new Uint8Array(Buffer.concat(client.part)))
    client.part = []
    client.partBytes = 0
    if (owner !== client && !waiting.includes(client)) waiting.push(client) // with a unit
  }
}

// Hands on every message that has come whole, and keeps the rest.
function read(client, chunk) {
  client.chunks.push(chunk)
  client.bytes += chunk.length
  if (client.bytes < client.needed) return
  const all = Buffer.concat(client.chunks)
  let at = 0
  client.needed = 0
  while (!client.gone) {
    const head = client.started ? 5 : 8
    if (all.length - at < head) break
    const length = client.started ? all.readUInt32BE(at + 1) + 1 : all.readUInt32BE(at)
    if (all.length - at < length) {
      client.needed = length
      break
    }
    if (client.started) take(client, all.subarray(at, at + length))
    else greet(client, length, all.readUInt32BE(at + 4))
    at += length
  }
  client.chunks = [all.subarray(at)]
  client.bytes = all.length - at
  setImmediate(pump)
}

const server = net.createServer((socket) => {
  const client = {
    id: ++lastId,
    socket,
    started: false,
    gone: false,
    resets: false,
    statements: new Set(),
    units: [], // whole requests for the backend
    part: [], // of the next one
    partBytes: 0,
    chunks: [], // bytes that are no whole message yet
    bytes: 0,
    needed: 0,
  }
  socket.setNoDelay(true)
  socket.on('error', () => leave(client))
  socket.on('close', () => leave(client))
  socket.on('data', (chunk) => read(client, chunk))
})
server.listen(Number(process.argv[2]), '127.0.0.1')
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0))
