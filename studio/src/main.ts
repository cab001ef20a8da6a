import { mount } from 'svelte'
import App from './App.svelte'
import { takeToken } from '$lib/session.svelte'
import { startTheme } from '$lib/theme.svelte'
import { startLanguage } from '$lib/i18n'

takeToken()
startTheme()
await startLanguage()

const target = document.getElementById('app')!
target.replaceChildren() // the mark that stood there meanwhile
mount(App, { target })
