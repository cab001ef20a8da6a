/** Every action that has a key: one table, which tinykeys runs and the `?` overlay shows. */

import { tinykeys } from 'tinykeys'

export interface Action {
  /** As tinykeys writes them: `$mod+KeyZ`, `Shift+D`, `g q` (one after the other). Several for the same action. */
  keys: string | string[]
  label: () => string
  run: (event: KeyboardEvent) => void
  /** Also while the user types into a field. */
  typing?: boolean
}

export interface Group {
  title: () => string
  actions: Action[]
}

export const groups = new Set<Group>()

/** Whether this key is for the field that has the focus, and not for us. */
export function isTyping(event: Event): boolean {
  const at = event.target
  if (!(at instanceof HTMLElement)) return false
  if (at.isContentEditable || at instanceof HTMLTextAreaElement || at instanceof HTMLSelectElement) return true
  return at instanceof HTMLInputElement && !['checkbox', 'radio', 'range', 'button', 'submit'].includes(at.type)
}

/** Whether Enter is meant to send, and not to choose a word in an input method. */
export function submits(event: KeyboardEvent): boolean {
  return event.key === 'Enter' && !event.isComposing && event.keyCode !== 229
}

/** Bind actions until the returned function is called; `onMount(() => bind({...}))`. */
export function bind(group: Group, on: Window | HTMLElement = window): () => void {
  groups.add(group)
  const map: Record<string, (event: KeyboardEvent) => void> = {}
  for (const action of group.actions)
    for (const key of [action.keys].flat())
      map[key] = (event) => {
        if (event.isComposing || event.defaultPrevented || (!action.typing && isTyping(event))) return
        if (!action.typing && document.querySelector('[role="dialog"],[role="alertdialog"],[role="menu"]') && on === window) return
        event.preventDefault()
        action.run(event)
      }
  const off = tinykeys(on, map)
  return () => {
    groups.delete(group)
    off()
  }
}

const MAC = typeof navigator !== 'undefined' && /Mac|iPhone|iPad/.test(navigator.platform)
const SHOWN: Record<string, string> = {
  $mod: MAC ? '⌘' : 'Ctrl', Alt: MAC ? '⌥' : 'Alt', Shift: MAC ? '⇧' : 'Shift', ArrowLeft: '←', ArrowRight: '→',
  ArrowUp: '↑', ArrowDown: '↓', Space: '␣', Escape: 'Esc', Delete: 'Del', Backspace: '⌫', Enter: '↵',
}

/** A key as people read it: the caps to draw, one list for each press. */
export function caps(keys: string): string[][] {
  return keys.split(' ').map((press) =>
    // A plus is a key of its own, too: Shift++.
    press.split(/(?<=.)\+(?=.)/).map((key) => SHOWN[key] ?? key.replace(/^(Key|Digit)/, '').replace(/^./, (first) => first.toUpperCase())),
  )
}
