/** How other screens fill the box: with a request, which may name inputs of the server by their ids. */

import { endOf } from './job'
import { go } from './router.svelte'

export interface Fill {
  kind?: 'video' | 'image' | 'extend'
  /** Fields of a job's request. Without `prompt`, the words of the form stay. */
  request: Record<string, unknown>
  /** Where it comes from, as people call it. */
  note?: string
}

export const form = $state<{ fill: Fill | null; n: number }>({ fill: null, n: 0 })

/** Fill the form, and show the box. What was in it can be had back there. */
export function fillForm(fill: Fill): void {
  form.fill = fill
  form.n += 1
  go('box')
}

/** The next shot begins with the last frame of what a job makes, also while it is not yet made. */
export const goOnFrom = (job: { id: string; kind?: string }, note?: string): void => fillForm({ request: { image: endOf(job) }, note })
