/** The token of the server: from `#token=` of the address, kept for this tab alone, never shown or logged. */

const KEY = 'wan22.token'

export const session = $state({ token: null as string | null, locked: false, media: false })

/** Take the token out of the address, so that it is neither seen nor shared with it. */
export function takeToken(): void {
  const match = /^#token=([A-Za-z0-9._~+/=-]+)$/.exec(location.hash)
  if (match) {
    sessionStorage.setItem(KEY, match[1]!)
    history.replaceState(null, '', `${location.pathname}#/`)
  }
  session.token = sessionStorage.getItem(KEY)
}

/** Use this token from now on. */
export function useToken(token: string): void {
  sessionStorage.setItem(KEY, token)
  session.token = token
  session.locked = false
}

export function authorization(): Record<string, string> {
  return session.token ? { Authorization: `Bearer ${session.token}` } : {}
}

const HOURS = 6

/** Let images, videos and downloads of this page pass the guard: they cannot send a header, so a cookie says it. */
export async function openMedia(): Promise<void> {
  if (session.token) {
    const answer = await fetch('/v1/session', { method: 'POST', headers: authorization() })
    session.locked = answer.status === 401
    setTimeout(openMedia, answer.ok ? HOURS * 3_600_000 : 60_000)
  }
  session.media = true
}
