/** Short messages at the edge of the page, with an undo or one action; and what screen readers are told. */

export interface Toast {
  id: number
  text: string
  tone: 'plain' | 'error'
  action?: { label: string; run: () => void }
}

export const toasts: Toast[] = $state([])
let next = 1
const SHOWN = 8000
const MOST = 4

/** Show a message; with an action it stays longer, and an error until it is closed. Returns how to take it back. */
export function toast(text: string, more: Partial<Pick<Toast, 'tone' | 'action'>> = {}): () => void {
  const id = next++
  toasts.push({ id, text, tone: 'plain', ...more })
  while (toasts.length > MOST) toasts.shift()
  const close = () => dismiss(id)
  if (more.tone !== 'error') setTimeout(close, more.action ? SHOWN * 1.5 : SHOWN)
  announce(text)
  return close
}

export function dismiss(id: number): void {
  const at = toasts.findIndex((each) => each.id === id)
  if (at >= 0) toasts.splice(at, 1)
}

/** Show what went wrong, in the words of the error. */
export function complain(error: unknown, action?: Toast['action']): void {
  toast(error instanceof Error ? error.message : String(error), { tone: 'error', action })
}

export const live = $state({ text: '' })
const QUIET = 5000
let said = -QUIET
let waiting: string | null = null

/** Tell screen readers; at most one message in five seconds, the newest that waits. */
export function announce(text: string): void {
  const left = said + QUIET - performance.now()
  if (left <= 0) {
    said = performance.now()
    live.text = text
  } else {
    if (waiting === null)
      setTimeout(() => {
        const [due] = [waiting]
        waiting = null
        if (due !== null) announce(due)
      }, left)
    waiting = text
  }
}
