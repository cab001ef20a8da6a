/** Undo and redo of whole documents, 100 deep. Knows nothing of what a document is. */

export const DEPTH = 100

export interface History<T> {
  readonly past: readonly T[]
  readonly now: T
  readonly future: readonly T[]
  /** What the last change belongs to: a drag is one step, however many changes it makes. */
  readonly run: string | null
}

export function begin<T>(now: T): History<T> {
  return { past: [], now, future: [], run: null }
}

/** A change. With the same `run` as the change before it, both are undone at once. */
export function record<T>(history: History<T>, now: T, run: string | null = null): History<T> {
  if (now === history.now) return history
  const joined = run !== null && run === history.run
  const past = joined ? history.past : [...history.past, history.now].slice(-DEPTH)
  return { past, now, future: [], run }
}

/** What changes next is a step of its own. */
export function settle<T>(history: History<T>): History<T> {
  return history.run === null ? history : { ...history, run: null }
}

export function undo<T>(history: History<T>): History<T> {
  if (!history.past.length) return history
  return { past: history.past.slice(0, -1), now: history.past.at(-1)!, future: [history.now, ...history.future], run: null }
}

export function redo<T>(history: History<T>): History<T> {
  if (!history.future.length) return history
  return { past: [...history.past, history.now], now: history.future[0]!, future: history.future.slice(1), run: null }
}
