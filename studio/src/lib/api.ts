/** The API, typed by the server's own OpenAPI document (`npm run types`). */

import createClient from 'openapi-fetch'
import type { components, paths } from './api-types'
import { problem } from './i18n'
import { authorization, session } from './session.svelte'

export type Schemas = components['schemas']
export type Job = Schemas['JobView']
export type JobState = Job['state']
export type Input = Schemas['InputView']
export type Capabilities = Schemas['Capabilities']

/** What the server refused: `message` is written for people, `code` does not change, `param` names the field. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly param: string | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

export const api = createClient<paths>({ baseUrl: '' })
api.use({
  onRequest({ request }) {
    for (const [name, value] of Object.entries(authorization())) request.headers.set(name, value)
  },
  onResponse({ response }) {
    if (response.status === 401) session.locked = true
  },
})

interface Answer<T> {
  data?: T
  error?: unknown
  response: Response
}

/** The data of an answer; throws ApiError. `await ok(api.GET('/v1/jobs/{id}', { params: { path: { id } } }))` */
export async function ok<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>
  try {
    answer = await asked
  } catch (error) {
    throw unreachable(error)
  }
  if (answer.response.ok) return answer.data as T
  throw errorOf(answer.error, answer.response)
}

/** A request that the document has no types for (forms, files). Throws ApiError. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, { ...init, headers: { ...authorization(), ...(init.headers as Record<string, string>) } })
  } catch (error) {
    throw unreachable(error)
  }
  if (response.ok) return response
  if (response.status === 401) session.locked = true
  throw errorOf(await response.json().catch(() => null), response)
}

function unreachable(error: unknown): ApiError {
  return new ApiError(problem('unreachable', ''), 0, 'unreachable', null, { cause: error })
}

/** What a refusal says; `body` is the problem of the server, if it is one. */
export function errorOf(body: unknown, { status }: { status: number }): ApiError {
  const { detail = '', code = 'internal_error', param = null } = (body ?? {}) as { detail?: string; code?: string; param?: string | null }
  return new ApiError(problem(code, detail), status, code, param)
}

/** Send a file; it is checked before it is kept. */
export async function upload(file: File): Promise<Input> {
  const form = new FormData()
  form.set('file', file)
  return (await ask('/v1/inputs', { method: 'POST', body: form })).json()
}

export const jobFile = (job: string, name: string) => `/v1/jobs/${job}/files/${name}`
export const jobPreview = (job: string, n: number) => `/v1/jobs/${job}/preview?n=${n}`
export const inputFile = (input: string) => `/v1/inputs/${input}/content`
