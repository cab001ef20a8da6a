import type en from '../en/box'

const ja: typeof en = {
  title: '作成',
}
export default ja
