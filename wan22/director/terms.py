"""The rows of the director's vocabulary: every control of the Wan2.2 prompt language, its words in four languages.

`en` and `zh` are the official terms wherever there is one. Two of them surprise: 近景 is a close-up and 特写 an extreme
close-up, as the official tables pair them. How a term is found in a text is vocabulary.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wan22.errors import choose

LANGUAGES = ("en", "zh", "ko", "ja")
"""Languages in which a term has a name and is found in a text."""
PROMPT_LANGUAGES = ("en", "zh")
"""Languages in which the model was trained to read a term."""


@dataclass(frozen=True)
class Axis:
    """A question about a shot ("shot size"). `many`: it may have several answers at once."""

    key: str
    names: tuple[str, ...]
    many: bool = False

    @property
    def terms(self) -> tuple[Term, ...]:
        """Its answers, in the order of the vocabulary."""
        return tuple(term for term in TERMS if term.axis == self.key)

    def name(self, language: str = "en") -> str:
        """How people call it. Raises OptionError for a language without names."""
        return self.names[LANGUAGES.index(choose("language of names", language, LANGUAGES))]


@dataclass(frozen=True)
class Term:
    """One answer on one axis ("close-up").

    `en` and `zh` are the phrases that a prompt holds, as the model was trained to read them; `names` how people call
    it in `LANGUAGES`. `alone` are other words for it where nothing else is said (an option, a tag between commas).
    `said` are words that mean it in prose, too, as the phrases do: "~" stands for any ending of a verb, "(the)" for
    words that may be left out. The key is stable and unique: recipes hold it.
    """

    axis: str
    key: str
    en: str
    zh: str
    names: tuple[str, ...]
    alone: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def phrase(self, language: str = "en") -> str:
        """What stands in a prompt of that language. Raises OptionError if the model reads no such language."""
        return self.zh if choose("language of prompts", language, PROMPT_LANGUAGES) == "zh" else self.en

    def name(self, language: str = "en") -> str:
        """How people call it. Raises OptionError for a language without names."""
        return self.names[LANGUAGES.index(choose("language of names", language, LANGUAGES))]


AXES = (
    Axis("style", ("visual style", "视觉风格", "시각 스타일", "ビジュアルスタイル")),
    Axis("time", ("time of day", "时间", "시간대", "時間帯")),
    Axis("light_source", ("light source", "光源", "광원", "光源"), many=True),
    Axis("light_quality", ("light quality", "光线强度", "빛의 강도", "光の質")),
    Axis("light_direction", ("light direction", "光线角度", "빛의 방향", "光の向き"), many=True),
    Axis("tone", ("colour tone", "色调", "색조", "色調")),
    Axis("saturation", ("saturation", "饱和度", "채도", "彩度")),
    Axis("contrast", ("contrast", "对比度", "대비", "コントラスト")),
    Axis("shot_size", ("shot size", "景别", "샷 크기", "ショットサイズ")),
    Axis("camera_angle", ("camera angle", "镜头角度", "카메라 앵글", "カメラアングル"), many=True),
    Axis("lens", ("lens", "镜头焦距", "렌즈", "レンズ")),
    Axis("composition", ("composition", "构图", "구도", "構図")),
    Axis("camera", ("camera movement", "运镜", "카메라 움직임", "カメラワーク"), many=True),
)
"""The axes, in the order in which a prompt says them: tags first, the camera's movement in a sentence at the end."""


_TABLE = """
[style]
realistic / Realistic style | 写实风格 / realistic | 写实 | 사실적 | 写実
    alone: photorealistic | live action | 实拍 | 실사 | 実写
    said: photorealistic style | live-action film | 写实的风格
felt / Felt style | 毛毡风格 / felt | 毛毡 | 펠트 | フェルト
    alone: needle felt
    said: made of felt | felted wool style | 펠트 스타일 | フェルト風
3d-cartoon / 3D cartoon style | 3D卡通风格 / 3D cartoon | 3D卡通 | 3D 만화 | 3Dアニメ
    alone: 3d animation
    said: 3d cartoon | 3d animated | 3D卡通 | 3D 만화 | 3Dアニメ
pixel-art / Pixel art style | 像素风格 / pixel art | 像素 | 픽셀 아트 | ドット絵
    alone: pixel | 8-bit
    said: pixel art | 像素画 | 픽셀 아트 | ドット絵
puppet-animation / Puppet animation style | 木偶动画风格 / puppet animation | 木偶动画 | 인형 애니메이션 | 人形アニメ
    alone: stop motion
    said: puppet animation | 木偶动画 | 인형 애니메이션 | 人形アニメ
3d-game / 3D game style | 3D游戏风格 / 3D game | 3D游戏 | 3D 게임 | 3Dゲーム
    said: 3d game graphics | 3D游戏 | 3D 게임 | 3Dゲーム
claymation / Claymation style | 黏土风格 / claymation | 黏土 | 클레이 애니메이션 | クレイアニメ
    said: claymation | clay animation | 粘土风格 | 클레이 애니메이션 | クレイアニメ
anime / Anime style | 二次元风格 / anime | 二次元 | 일본 애니메이션 | 日本アニメ
    alone: 2d anime
    said: anime | 二次元 | 애니메이션풍 | アニメ風
watercolor / Watercolor painting style | 水彩画风格 / watercolour | 水彩画 | 수채화 | 水彩画
    alone: watercolor style
    said: watercolor style | 수채화풍 | 水彩画風
black-and-white-animation / Black and white animation style | 黑白动画风格 / black-and-white animation | 黑白动画 | 흑백 애니메이션 | 白黒アニメ
    said: black and white animation | 黑白动画 | 흑백 애니메이션 | 白黒アニメ
oil-painting / Oil painting style | 油画风格 / oil painting | 油画 | 유화 | 油絵
    said: in oil painting style | 油画风 | 유화풍 | 油絵風
tilt-shift / Tilt-shift photography | 移轴摄影 / tilt-shift | 移轴 | 틸트 시프트 | チルトシフト
    said: tilt shift | 移轴 | 틸트 시프트 | チルトシフト
time-lapse / Time-lapse photography | 延时拍摄 / time-lapse | 延时 | 타임랩스 | タイムラプス
    said: time lapse | timelapse | 延时摄影 | 타임랩스 | タイムラプス

[time]
dawn / Dawn time | 黎明 / dawn | 黎明 | 새벽 | 夜明け前
    alone: first light
    said: at dawn | before sunrise | 拂晓 | 새벽에 | 夜明け前
sunrise / Sunrise time | 日出 / sunrise | 日出 | 일출 | 日の出
    alone: morning
    said: at sunrise | sunrise sky | 일출 | 日の出
day / Day time | 白天 / day | 白天 | 낮 | 昼
    alone: daytime | noon | midday | 대낮
    said: by day | daytime | during the day | in the day | at noon | under a blue sky | 正午 | 낮에 | 대낮
    said: 昼間
sunset / Sunset time | 日落 / sunset | 日落 | 일몰 | 日没
    alone: golden hour | 夕陽
    said: at sunset | sunset sky | setting sun | golden hour | 夕阳 | 일몰 | 해질녘 | 日没 | 夕日
dusk / Dusk time | 黄昏 / dusk | 黄昏 | 황혼 | 夕暮れ
    alone: twilight | evening | blue hour
    said: at dusk | at twilight | in the evening | blue hour | 傍晚 | 황혼 | 夕暮れ
night / Night time | 夜晚 / night | 夜晚 | 밤 | 夜
    alone: nighttime | midnight | 夜间 | 야간 | 夜間
    said: at night | by night | nighttime | at midnight | during the night | dark of night | night sky
    said: starry night | rainy night | 夜里 | 夜间 | 夜景 | 深夜 | 밤에 | 한밤 | 야간 | 夜に | 夜間 | 夜の

[light_source]
daylight / Daylight | 日光 / daylight | 日光 | 자연광 | 日光
    alone: natural light | 自然光
    said: natural daylight | in daylight | 自然光 | 자연광
artificial / Artificial lighting | 人工光 / artificial light | 人工光 | 인공광 | 人工光
    said: artificial light | 인공광
moonlight / Moonlight | 月光 / moonlight | 月光 | 달빛 | 月明かり
    alone: moonlit
    said: moonlit | under the moon | 달빛 | 月明かり
practical / Practical lighting | 实用光 / practical light | 实用光 | 실용 조명 | プラクティカルライト
    alone: practicals
    said: practical light | lamplight | 실용 조명 | プラクティカルライト
firelight / Firelight | 火光 / firelight | 火光 | 불빛 | 火明かり
    said: candlelight | candlelit | lit by (a) fire | 烛光 | 촛불 | 모닥불 | 火明かり | ろうそくの光
fluorescent / Fluorescent lighting | 荧光 / fluorescent light | 荧光 | 형광등 | 蛍光灯
    alone: neon
    said: fluorescent light | neon light | 荧光灯 | 日光灯 | 형광등 | 蛍光灯
overcast / Overcast lighting | 阴天光 / overcast light | 阴天光 | 흐린 날의 빛 | 曇りの光
    alone: cloudy
    said: overcast | cloudy sky | 阴天 | 흐린 하늘 | 曇り空
sunny / Sunny lighting | 晴天光 / sunlight | 晴天光 | 햇빛 | 晴天の光
    said: sunlight | sunlit | sunny day | 阳光 | 晴天 | 햇빛 | 햇살 | 日差し
mixed-light / Mixed lighting | 混合光 / mixed light | 混合光 | 혼합광 | ミックス光
    said: mixed light | 혼합광 | ミックス光

[light_quality]
soft-light / Soft lighting | 柔光 / soft light | 柔光 | 부드러운 빛 | 柔らかい光
    alone: diffuse | diffused
    said: soft light | diffused light | 柔和的光 | 부드러운 빛 | 부드러운 조명 | 柔らかい光
hard-light / Hard lighting | 硬光 / hard light | 硬光 | 강한 빛 | 硬い光
    alone: harsh light
    said: hard light | harsh light | 强光 | 강한 빛 | 硬い光

[light_direction]
top-light / Top lighting | 顶光 / top light | 顶光 | 탑 라이트 | トップライト
    alone: overhead light
    said: lit from above | top light | light from above | 탑 라이트 | トップライト
side-light / Side lighting | 侧光 / side light | 侧光 | 측면광 | サイドライト
    said: lit from the side | side light | sidelight | light from the side | 측면광 | サイドライト
backlight / Backlighting | 背光 / backlight | 背光 | 역광 | 逆光
    alone: back light | backlit | 逆光
    said: backlit | back light | back lighting | backlight | lit from behind | 逆光 | 역광
underlight / Underlighting | 底光 / underlight | 底光 | 하부 조명 | アンダーライト
    alone: bottom light
    said: lit from below | light from below | underlit | 하부 조명 | アンダーライト
edge-light / Edge lighting | 边缘光 / edge light | 边缘光 | 림 라이트 | リムライト
    said: rim light | rim lighting | edge light | 轮廓光 | 림 라이트 | リムライト
silhouette / Silhouette lighting | 剪影 / silhouette | 剪影 | 실루엣 | シルエット
    said: in silhouette | silhouette light | silhouetted | 실루엣 | シルエット

[tone]
warm / Warm colors | 暖色调 / warm colours | 暖色调 | 따뜻한 색조 | 暖色
    said: warm tone~ | warm palette | warm color tone | colors are warm | 暖色 | 따뜻한 색 | 暖色
cool / Cool colors | 冷色调 / cool colours | 冷色调 | 차가운 색조 | 寒色
    alone: cold
    said: cool tone~ | cold palette | cool palette | cool color tone | cold colors | colors are cool | 冷色
    said: 차가운 색 | 寒色
mixed-colors / Mixed colors | 混合色调 / mixed colours | 混合色调 | 혼합 색조 | 混合色
    said: mixed tones | 혼합 색조 | 混合色

[saturation]
high-saturation / High saturation | 高饱和度 / high saturation | 高饱和度 | 높은 채도 | 高彩度
    alone: saturated | vivid
    said: highly saturated | vivid colors | 높은 채도 | 高彩度
low-saturation / Low saturation | 低饱和度 / low saturation | 低饱和度 | 낮은 채도 | 低彩度
    alone: desaturated | muted
    said: desaturated | muted colors | 낮은 채도 | 低彩度
monochrome / Black and white film | 黑白画面 / black and white | 黑白 | 흑백 | 白黒
    alone: b&w
    said: monochrome | black and white footage | 흑백 화면 | 흑백 영화 | モノクロ

[contrast]
high-contrast / High contrast lighting | 高对比度 / high contrast | 高对比度 | 높은 대비 | 高コントラスト
    said: high contrast | 높은 대비 | 高コントラスト
low-contrast / Low contrast lighting | 低对比度 / low contrast | 低对比度 | 낮은 대비 | 低コントラスト
    said: low contrast | 낮은 대비 | 低コントラスト

[shot_size]
extreme-close-up / Extreme close-up shot | 特写 / extreme close-up | 特写 | 익스트림 클로즈업 | 大写し
    alone: ecu | macro shot
    said: extreme close up | 极端特写 | 大特写 | 익스트림 클로즈업 | 超クローズアップ
close-up / Close-up shot | 近景 / close-up | 近景 | 클로즈업 | クローズアップ
    alone: cu
    said: close up | closeup | close shot | close view | 클로즈업 | クローズアップ
medium-close-up / Medium close-up shot | 中近景 / medium close-up | 中近景 | 미디엄 클로즈업 | ミディアムクローズアップ
    alone: mcu
    said: medium close up | 미디엄 클로즈업 | ミディアムクローズアップ
medium / Medium shot | 中景 / medium shot | 中景 | 미디엄 샷 | ミディアムショット
    alone: ms | mid
    said: mid shot | waist shot | 미디엄 샷 | ミディアムショット
medium-wide / Medium wide shot | 中全景 / medium wide shot | 中全景 | 미디엄 와이드 샷 | ミディアムワイド
    alone: medium full shot | mws
    said: medium full shot | medium long shot | 미디엄 와이드 | ミディアムワイド
wide / Wide shot | 全景 / wide shot | 全景 | 와이드 샷 | ワイドショット
    alone: ws | long shot | full shot
    said: full shot | long shot | distant view | 와이드 샷 | ワイドショット
extreme-wide / Extreme wide shot | 极端全景 / extreme wide shot | 极端全景 | 익스트림 와이드 샷 | 超ワイドショット
    alone: ews | establishing
    said: extreme long shot | establishing shot | 大远景 | 远景 | 익스트림 와이드 | 超ワイドショット

[camera_angle]
eye-level / Eye-level shot | 平视角度拍摄 / eye level | 平视 | 눈높이 | アイレベル
    said: at eye level | eye-level | 平视 | 눈높이 | アイレベル
low-angle / Low angle shot | 低角度拍摄 / low angle | 低角度 | 로우 앵글 | ローアングル
    alone: worm's eye
    said: low-angle | from a low angle | 仰拍 | 仰视 | 低角度 | 로우 앵글 | ローアングル
high-angle / High angle shot | 高角度拍摄 / high angle | 高角度 | 하이 앵글 | ハイアングル
    said: high-angle | from a high angle | 高角度 | 하이 앵글 | ハイアングル
dutch-angle / Dutch angle shot | 倾斜角度拍摄 / Dutch angle | 倾斜角度 | 더치 앵글 | ダッチアングル
    said: dutch angle | dutch tilt | canted angle | 倾斜角度 | 더치 앵글 | ダッチアングル
overhead / Overhead shot | 俯视角度拍摄 / overhead | 俯视 | 부감 | 俯瞰
    alone: top-down | bird's eye
    said: top-down shot | top-down view | bird's eye view | seen from above | 俯视 | 俯拍 | 부감 | 俯瞰
aerial / Aerial shot | 航拍 / aerial | 航拍 | 항공 촬영 | 空撮
    alone: drone
    said: aerial view | drone shot | drone footage | 항공 촬영 | 드론 샷 | 空撮
over-the-shoulder / Over-the-shoulder shot | 过肩镜头角度拍摄 / over the shoulder | 过肩 | 오버 더 숄더 | 肩越し
    alone: ots
    said: over-the-shoulder | 过肩镜头 | 오버 더 숄더 | 肩越しの

[lens]
wide-angle / Wide-angle lens | 广角镜头 / wide-angle | 广角 | 광각 | 広角
    said: wide lens | wide-angle (lens) | 광각 렌즈 | 広角レンズ
normal-lens / Medium focal length lens | 中焦距镜头 / normal lens | 中焦距 | 표준 렌즈 | 標準レンズ
    alone: 50mm
    said: normal lens | medium lens | standard lens | 中焦距 | 표준 렌즈 | 標準レンズ
telephoto / Long-focus lens | 长焦镜头 / telephoto | 长焦 | 망원 | 望遠
    alone: tele
    said: telephoto (lens) | long lens | long-focus | 长焦 | 望远镜头 | 망원 렌즈 | 望遠レンズ
fisheye / Ultra-wide fisheye lens | 超广角鱼眼镜头 / fisheye | 鱼眼 | 어안 | 魚眼
    alone: fish-eye | ultra-wide lens
    said: fisheye (lens) | fish-eye lens | 鱼眼镜头 | 어안 렌즈 | 魚眼レンズ

[composition]
center / Center composition | 中心构图 / centre | 中心构图 | 중앙 구도 | 中央構図
    said: centered composition | 중앙 구도 | 中央構図
balanced / Balanced composition | 平衡构图 / balanced | 平衡构图 | 균형 구도 | 均衡構図
    said: balanced framing | 균형 구도 | 均衡構図
right-heavy / Right-heavy composition | 右侧重构图 / right-heavy | 右侧重构图 | 오른쪽 중심 구도 | 右寄り構図
    said: right-weighted composition | 오른쪽 중심 구도 | 右寄りの構図
left-heavy / Left-heavy composition | 左侧重构图 / left-heavy | 左侧重构图 | 왼쪽 중심 구도 | 左寄り構図
    said: left-weighted composition | 왼쪽 중심 구도 | 左寄りの構図
symmetrical / Symmetrical composition | 对称构图 / symmetrical | 对称构图 | 대칭 구도 | 対称構図
    alone: symmetric
    said: symmetrical framing | symmetric composition | 대칭 구도 | シンメトリー構図
short-side / Short-side composition | 短边构图 / short side | 短边构图 | 짧은 쪽 구도 | ショートサイド構図
    alone: shortside
    said: short-side framing | 짧은 쪽 구도 | ショートサイド構図

[camera]
static / The camera is static | 镜头固定不动 / static | 固定 | 고정 | 固定
    alone: fixed | locked | locked-off
    said: static camera | fixed camera | static shot | locked-off shot | camera (does) not move
    said: camera holds still | no camera movement | 固定镜头 | 镜头固定 | 고정 카메라 | 固定カメラ
pan-left / The camera pans left | 镜头向左摇 / pan left | 左摇 | 왼쪽 팬 | 左パン
    alone: pan to the left | camera pans left
    said: camera (is) pan~ (to the) left | camera turn~ (to the) left | slow pan (to the) left | 镜头左摇
    said: 왼쪽으로 팬 | 左にパン
pan-right / The camera pans right | 镜头向右摇 / pan right | 右摇 | 오른쪽 팬 | 右パン
    alone: pan to the right | camera pans right
    said: camera (is) pan~ (to the) right | camera turn~ (to the) right | slow pan (to the) right | 镜头右摇
    said: 오른쪽으로 팬 | 右にパン
tilt-up / The camera tilts up | 镜头向上摇 / tilt up | 上摇 | 틸트 업 | ティルトアップ
    alone: tilts up | pan up
    said: camera (is) tilt~ up(ward) | camera pan~ up | slow tilt up | 镜头上摇 | 틸트 업 | ティルトアップ
tilt-down / The camera tilts down | 镜头向下摇 / tilt down | 下摇 | 틸트 다운 | ティルトダウン
    alone: tilts down | pan down
    said: camera (is) tilt~ down(ward) | camera pan~ down | slow tilt down | 镜头下摇 | 틸트 다운
    said: ティルトダウン
dolly-in / The camera pushes in | 镜头推进 / dolly in | 推进 | 달리 인 | ドリーイン
    alone: push in | dollies in | move in | camera moves in | the camera moves in
    said: camera (is) doll~ in | camera (is) push~ in | camera mov~ closer | camera mov~ forward | slow push in
    said: slow dolly in | 镜头(缓慢)推近 | 镜头向前推进 | 달리 인 | ドリーイン
dolly-out / The camera pulls back | 镜头拉远 / dolly out | 拉远 | 달리 아웃 | ドリーアウト
    alone: pull back | pull out | dollies out
    said: camera (is) doll~ out | camera (is) doll~ back | camera (is) pull~ back | camera pull~ out
    said: camera mov~ away | camera mov~ back(ward) | slow pull back | slow dolly out | 镜头(缓慢)后拉
    said: 镜头向后拉 | 달리 아웃 | ドリーアウト
truck-left / The camera moves to the left | 镜头向左移动 / truck left | 左移 | 왼쪽 트럭 | 左トラック
    alone: track left
    said: camera (is) truck~ (to the) left | camera mov~ left | camera slid~ (to the) left | camera track~ left
    said: 镜头左移 | 왼쪽으로 트럭 | 左へトラック
truck-right / The camera moves to the right | 镜头向右移动 / truck right | 右移 | 오른쪽 트럭 | 右トラック
    alone: track right
    said: camera (is) truck~ (to the) right | camera mov~ right | camera slid~ (to the) right
    said: camera track~ right | 镜头右移 | 오른쪽으로 트럭 | 右へトラック
crane-up / The camera rises | 镜头升起 / crane up | 升 | 크레인 업 | クレーンアップ
    alone: boom up | pedestal up
    said: camera (is) crane~ up | camera mov~ up(ward) | crane shot up | 镜头上升 | 크레인 업 | クレーンアップ
crane-down / The camera descends | 镜头下降 / crane down | 降 | 크레인 다운 | クレーンダウン
    alone: boom down | pedestal down
    said: camera (is) crane~ down | camera mov~ down(ward) | crane shot down | camera lowers | 크레인 다운
    said: クレーンダウン
orbit-left / The camera orbits to the left around the subject | 镜头向左环绕主体 / orbit left | 向左环绕 | 왼쪽 오빗 | 左オービット
    alone: arc left
    said: camera (is) orbit~ (to the) left | camera arc~ (to the) left | camera circl~ (to the) left
    said: 왼쪽으로 오빗 | 左に回り込
orbit-right / The camera orbits to the right around the subject | 镜头向右环绕主体 / orbit right | 向右环绕 | 오른쪽 오빗 | 右オービット
    alone: arc right
    said: camera (is) orbit~ (to the) right | camera arc~ (to the) right | camera circl~ (to the) right
    said: 오른쪽으로 오빗 | 右に回り込
orbit / The camera orbits around the subject | 镜头环绕主体 / orbit | 环绕 | 오빗 | オービット
    alone: arc | circle
    said: camera (is) orbit~ | camera arc~ | camera circl~ | arc shot | orbit shot | 环绕镜头 | 镜头环绕
    said: 오빗 샷 | オービットショット
zoom-in / The camera zooms in | 镜头变焦放大 / zoom in | 变焦放大 | 줌 인 | ズームイン
    alone: zooms in
    said: camera (is) zoom~ in | zoom in | zooming in | 变焦推近 | 줌 인 | 줌인 | ズームイン
zoom-out / The camera zooms out | 镜头变焦缩小 / zoom out | 变焦缩小 | 줌 아웃 | ズームアウト
    alone: zooms out
    said: camera (is) zoom~ out | zoom out | zooming out | 变焦拉远 | 줌 아웃 | 줌아웃 | ズームアウト
roll-clockwise / The camera rolls clockwise | 镜头顺时针旋转 / roll clockwise | 顺时针旋转 | 시계 방향 롤 | 時計回りロール
    alone: roll right | roll
    said: camera (is) roll~ clockwise | camera roll~ (to the) right | 시계 방향으로 롤 | 時計回りにロール
roll-counterclockwise / The camera rolls counterclockwise | 镜头逆时针旋转 / roll counterclockwise | 逆时针旋转 | 반시계 방향 롤 | 反時計回りロール
    alone: roll left | roll anticlockwise
    said: camera (is) roll~ counterclockwise | camera roll~ anticlockwise | camera roll~ (to the) left
    said: 반시계 방향으로 롤 | 反時計回りにロール
follow / The camera follows the subject | 镜头跟随主体 / follow | 跟随 | 팔로우 | フォロー
    alone: tracking | track | tracking shot
    said: camera (is) follow~ | camera track~ the | tracking shot | follow shot | 跟拍 | 跟随镜头 | 镜头跟随
    said: 팔로우 샷 | トラッキングショット | カメラが追
handheld / Handheld camera | 手持镜头 / handheld | 手持 | 핸드헬드 | 手持ち
    alone: hand-held | shaky
    said: handheld (tracking) shot | hand held camera | shot handheld | 手持拍摄 | 핸드헬드 | 手持ちカメラ
compound / Compound camera move | 复合运镜 / compound | 复合 | 복합 | 複合
    alone: combined
    said: compound move | complex camera movement | 복합 카메라 무빙 | 複合カメラワーク
"""  # noqa: E501
"""Terms by axis: key / phrases in en | zh / names in en | zh | ko | ja; below them, `alone` and `said`."""


def _read(table: str) -> tuple[Term, ...]:
    terms: list[Term] = []
    axis = ""
    for line in filter(None, map(str.strip, table.splitlines())):
        label, _, words = line.partition(": ")
        if line.startswith("["):
            axis = line.strip("[]")
        elif label in ("alone", "said"):
            terms[-1] = replace(terms[-1], **{label: getattr(terms[-1], label) + _split(words)})
        else:
            key, phrases, names = line.split(" / ")
            terms.append(Term(axis, key, *_split(phrases), _split(names)))
    return tuple(terms)


def _split(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split("|"))


TERMS = _read(_TABLE)
"""Every term, axis by axis."""


def _excludes() -> frozenset[frozenset[str]]:
    """Pairs that no shot has together, though their axes allow several terms or differ."""
    opposites = (
        "pan-left pan-right", "tilt-up tilt-down", "dolly-in dolly-out", "truck-left truck-right",
        "crane-up crane-down", "orbit-left orbit-right", "zoom-in zoom-out", "roll-clockwise roll-counterclockwise",
        "overcast sunny", "moonlight sunny", "moonlight daylight", "day moonlight", "night daylight", "night sunny",
        "aerial eye-level", "aerial low-angle",
        "eye-level low-angle", "eye-level high-angle", "eye-level overhead",
        "low-angle high-angle", "low-angle overhead", "high-angle overhead",
    )  # fmt: skip
    # A hand is no move: a camera that stays where it is may be held by one.
    moves = (term.key for term in TERMS if term.axis == "camera" and term.key not in ("static", "handheld"))
    return frozenset(
        {frozenset(pair.split()) for pair in opposites} | {frozenset(("static", move)) for move in moves}
    )


EXCLUDES = _excludes()
"""Pairs of keys that exclude one another across answers; those of an axis with one answer do so anyway."""
