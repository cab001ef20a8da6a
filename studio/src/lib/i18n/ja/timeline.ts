import type en from '../en/timeline'

const ja: typeof en = {
  title: 'タイムライン',
}
export default ja
