/** What the box's form holds. The box owns this file; other screens call `fillForm` alone. */

import { go } from './router.svelte'

export interface Fill {
  kind?: 'video' | 'image'
  request: Record<string, unknown>
  note?: string
}

export const form = $state<{ fill: Fill | null; n: number }>({ fill: null, n: 0 })

/** Replace the form's content, and show the box. */
export function fillForm(fill: Fill): void {
  form.fill = fill
  form.n += 1
  go('box')
}
