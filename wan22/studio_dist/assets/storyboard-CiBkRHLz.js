var e={title:`絵コンテ`,new:`新しい絵コンテ`,intro:`台本を書いてください。まず全ショットに共通すること、続いてショットごとに一段落。各ショットを作り、言葉と照らして測り、違えば撮り直します。`,script:`台本`,name:`名前`,namePlaceholder:`台本のタイトル`,example:`例を入れる`,help:`演出の用語は文中から見つけるか、「Camera: static」のような行で指定します。{subject} は共通の被写体を表します。`,takes:`一ショットのテイク数`,model:`モデル`,auto:`台本のとおり`,make:`絵コンテを作る`,making:`送信中…`,shots:e=>`${e} ショット`,earlier:`絵コンテ一覧`,none:`絵コンテはまだありません`,notFound:`その絵コンテはありません。`,back:`すべての絵コンテ`,openScript:`新しい絵コンテとして編集`,shot:e=>`ショット ${e}`,made:(e,t)=>`${t} ショット中 ${e} ショット完成`,inWork:e=>`${e} 件作業中`,failing:`指示と違う`,asAsked:`指示どおり`,notMeasured:`まだ測っていません`,locked:`ロック中`,lock:`このテイクをロック`,unlock:`ロックを外す`,lockHelp:`ロックしたテイクが使われ、そのショットは撮り直しません。`,choose:e=>`テイク ${e} を選ぶ`,take:e=>`テイク ${e}`,chosen:`採用`,score:e=>`指示との一致 ${e}`,again:`撮り直す`,againShot:e=>`ショット ${e} を撮り直す`,againFailing:e=>`指示と違う ${e} ショットを撮り直す`,againNone:`指示と違うショットはありません`,added:`新しいテイクをキューに入れました`,cancel:`すべてキャンセル`,toTimeline:`タイムラインへ`,earlierPlace:`前へ移動`,laterPlace:`後ろへ移動`,movedTo:(e,t)=>`ショット ${e} は ${t} 番目になりました`,scriptOrder:`台本の順に戻す`,useInBox:`作成で開く`,play:e=>`ショット ${e} を再生`,pause:e=>`ショット ${e} を一時停止`,video:e=>`ショット ${e} の映像`,states:{queued:`待機中`,running:`作業中`,paused:`一時停止`,completed:`完了`,failed:`失敗`,cancelled:`キャンセル済み`},verdicts:{matched:`指示どおり`,failed:`指示と違う`,unchecked:`未確認`},axes:{subject:`被写体`,colour:`色`,material:`質感`,surroundings:`場所`,action:`動作`,direction:`カメラの方向`,grip:`手ぶれ`,time:`時間帯`,light_source:`光源`,light_quality:`光の質`,light_direction:`光の向き`,tone:`色調`,saturation:`彩度`,contrast:`コントラスト`,shot_size:`ショットサイズ`,camera_angle:`アングル`,lens:`レンズ`,focus:`ピント`,composition:`構図`,camera:`カメラ`,style:`スタイル`},deleted:`絵コンテをゴミ箱に入れました`,remove:`ゴミ箱に入れる`,exampleScript:`Title: 赤いボールの一日
Subject: 赤いボール
Seed: 1

Shot 1: 昼の草原に{subject}がじっと置かれている。ワイドショット。
Camera: 固定

Shot 2: {subject}が砂漠で右へ転がる。
Time: 日没

Shot 3: 夜の雪原に{subject}が置かれている。クローズアップ。
Camera: ドリーイン
`};export{e as default};