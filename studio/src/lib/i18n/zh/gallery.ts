import type en from '../en/gallery'

const zh: typeof en = {
  title: '作品库',
}
export default zh
