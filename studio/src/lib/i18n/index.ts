export { LANGUAGES, language, load, setLanguage, startLanguage, t, type Language, type Section } from './catalogue.svelte'
export * from './format'
export { jobProblem, problem } from './problem'
