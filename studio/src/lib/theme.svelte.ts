/** Dark unless the user chose light. */

export type Theme = 'dark' | 'light'
const KEY = 'wan22.theme'

export const theme = $state({ now: 'dark' as Theme })

export function setTheme(to: Theme): void {
  theme.now = to
  document.documentElement.dataset.theme = to
  localStorage.setItem(KEY, to)
}

export function startTheme(): void {
  const kept = localStorage.getItem(KEY)
  if (kept === 'light') setTheme(kept)
}
