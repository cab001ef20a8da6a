/** One stream of the server's events for the whole page. It comes back by itself, and misses nothing (Last-Event-ID). */

import { authorization, session } from './session.svelte'

export interface ServerEvent {
  id: number | null
  type: string
  job: string
  data: Record<string, unknown>
}
type Listener = (event: ServerEvent) => void
export type Connection = 'connecting' | 'open' | 'lost'

const events = new Set<Listener>()
const connections = new Set<(state: Connection) => void>()
let running = false
let last: number | null = null

export function onEvent(listener: Listener): () => void {
  events.add(listener)
  return () => events.delete(listener)
}

/** Told with each change. After every 'open' that is not the first, events since the last one follow by themselves. */
export function onConnection(listener: (state: Connection) => void): () => void {
  connections.add(listener)
  return () => connections.delete(listener)
}

const say = (state: Connection) => connections.forEach((each) => each(state))

/** Parse server-sent events; returns what is left of the text, an event that is not complete yet. */
export function parseEvents(text: string, give: Listener): string {
  const blocks = text.split('\n\n')
  const rest = blocks.pop()!
  for (const block of blocks) {
    let id: number | null = null
    let type = 'message'
    let data = ''
    for (const line of block.split('\n')) {
      const at = line.indexOf(':')
      if (at <= 0) continue // a comment
      const [name, value] = [line.slice(0, at), line.slice(at + 1).trimStart()]
      if (name === 'id') id = Number(value)
      else if (name === 'event') type = value
      else if (name === 'data') data += (data ? '\n' : '') + value
    }
    if (!data) continue
    const said = JSON.parse(data) as Record<string, unknown>
    give({ id, type, job: String(said.job ?? ''), data: said })
  }
  return rest
}

/** Open the stream; once for the page. */
export async function startEvents(): Promise<void> {
  if (running) return
  running = true
  for (let wait = 250; ; wait = Math.min(wait * 2, 8000)) {
    say('connecting')
    try {
      const headers = { ...authorization(), ...(last === null ? {} : { 'Last-Event-ID': String(last) }) }
      const answer = await fetch('/v1/events', { headers })
      if (answer.status === 401) session.locked = true
      if (answer.ok && answer.body) {
        say('open')
        wait = 250
        await read(answer.body)
      }
    } catch {
      // the server is away; tried again below
    }
    say('lost')
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
}

async function read(body: ReadableStream<Uint8Array>): Promise<void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  for (let text = ''; ; ) {
    const { done, value } = await reader.read()
    if (done) return
    text = parseEvents(text + decoder.decode(value, { stream: true }), (event) => {
      if (event.id !== null) last = event.id
      events.forEach((each) => each(event))
    })
  }
}
