/** Where the script that is being written is kept in the browser. */
export const SCRIPT = 'wan22.script'
