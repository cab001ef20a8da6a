/** What went wrong in the language of the page, by the code that the server says. */

import { language, t } from './catalogue.svelte'

/** Codes whose sentence names what is meant, a field or a job: it is shown beside the text. */
const SAYS_MORE = new Set([
  'audio_failed', 'conflict', 'invalid_request', 'invalid_timeline', 'invalid_value', 'locked', 'unknown_parameter', 'unreadable_media', 'unreadable_timeline',
  'upstream_failed', 'wrong_state',
])

function textOf(texts: object | undefined, code: string, detail: string): string {
  const text = (texts as Record<string, string> | undefined)?.[code] ?? ''
  if (text === '' || (language.now === 'en' && detail !== '')) return detail || code
  return detail !== '' && SAYS_MORE.has(code) ? `${text} (${detail})` : text
}

/** What a request was refused with. The server's own sentence is English; elsewhere it stands for codes without a text. */
export const problem = (code: string, detail: string): string => textOf(t.problems?.request, code, detail)

/** Why a job failed: `error` as its row has it. */
export function jobProblem(error: { code?: unknown; message?: unknown } | null | undefined): string {
  return error ? textOf(t.problems?.jobs, String(error.code ?? ''), String(error.message ?? '')) : ''
}
