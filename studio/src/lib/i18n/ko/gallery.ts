import type en from '../en/gallery'

const ko: typeof en = {
  title: '갤러리',
}
export default ko
