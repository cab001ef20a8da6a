export default {
  title: 'Create',
}
