/** Numbers, times and sizes as the language of the page writes them. */

import { language } from './catalogue.svelte'

/** Seconds as 1:05 or 2:03:09; below ten, with a decimal where asked. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (value: number) => String(value).padStart(2, '0')
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}

export function number(value: number, digits = 0): string {
  return new Intl.NumberFormat(language.now, { maximumFractionDigits: digits }).format(value)
}

export function percent(value: number): string {
  return new Intl.NumberFormat(language.now, { style: 'percent', maximumFractionDigits: 0 }).format(value)
}

export function bytes(value: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const
  const at = Math.min(units.length - 1, value > 0 ? Math.floor(Math.log10(value) / 3) : 0)
  return new Intl.NumberFormat(language.now, { style: 'unit', unit: units[at]!, unitDisplay: 'short', maximumFractionDigits: at > 1 ? 1 : 0 })
    .format(value / 1000 ** at)
}

/** A moment (seconds since 1970) as "3 minutes ago", or its day. */
export function ago(at: number, now = Date.now() / 1000): string {
  const past = Math.min(0, at - now)
  const steps = [['second', 60], ['minute', 60], ['hour', 24], ['day', 7]] as const
  let value = past
  for (const [unit, size] of steps) {
    if (-value < size) return new Intl.RelativeTimeFormat(language.now, { numeric: 'auto', style: 'short' }).format(Math.round(value), unit)
    value /= size
  }
  return new Intl.DateTimeFormat(language.now, { dateStyle: 'medium' }).format(at * 1000)
}
