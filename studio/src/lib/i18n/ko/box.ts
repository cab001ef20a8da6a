import type en from '../en/box'

const ko: typeof en = {
  title: '만들기',
}
export default ko
