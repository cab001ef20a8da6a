/** Hash routes: `#/` is the box, `#/SCREEN` and `#/SCREEN/ID` the others. */

export const SCREENS = ['box', 'queue', 'gallery', 'storyboard', 'timeline'] as const
export type Screen = (typeof SCREENS)[number]
export interface Route {
  screen: Screen
  id: string | null
}

export function parse(hash: string): Route {
  const [, name = '', id] = hash.replace(/^#/, '').split('/')
  const screen = SCREENS.find((each) => each === name) ?? 'box'
  return { screen, id: id ? decodeURIComponent(id) : null }
}

export function hrefOf(screen: Screen, id: string | null = null): string {
  return `#/${screen === 'box' ? '' : screen}${id ? `/${encodeURIComponent(id)}` : ''}`
}

export const route: Route = $state(parse(typeof location === 'undefined' ? '' : location.hash))

/** Show a screen; `replace` leaves no entry in the browser's history. */
export function go(screen: Screen, id: string | null = null, replace = false): void {
  const href = hrefOf(screen, id)
  if (replace) {
    history.replaceState(null, '', href)
    Object.assign(route, parse(href))
  } else location.hash = href
}

export function listen(): () => void {
  const changed = () => Object.assign(route, parse(location.hash))
  changed()
  addEventListener('hashchange', changed)
  return () => removeEventListener('hashchange', changed)
}
