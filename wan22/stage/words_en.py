"""How a shot is said in English: the phrases of every label, and the frames that they stand in.

A row is `value = tags | clauses | sentences`, its cells parted by ";". A tag stands in a list between commas, a clause
within a sentence, a sentence for itself; without sentences the tags stand for themselves, too. `value@case` is for one
kind of subject, or of light; "?" ends a phrase that does not tell the label from all others. How rows and frames are
read is caption.py's.
"""

TABLE = """
[subject]
ball = ball; round ball | ball; ball; round ball; sphere
cube = cube; box | cube; cube; box; block
cone = cone; pointed cone | cone; cone; pointed cone; pylon
robot = robot; toy robot | robot; robot; toy robot; little robot; small robot
mushroom = mushroom; toadstool | mushroom; mushroom; toadstool; little mushroom
unsaid = object | object; thing; toy; shape

[colour]
red = red; bright red | red; red; bright red; crimson; scarlet; red-coloured
orange = orange; bright orange | orange; orange; bright orange; tangerine; orange-coloured
yellow = yellow; bright yellow | yellow; yellow; bright yellow; lemon yellow; golden yellow; yellow-coloured
green = green; bright green | green; green; bright green; emerald; emerald green; green-coloured
blue = blue; bright blue | blue; blue; bright blue; royal blue; azure; blue-coloured
purple = purple; bright purple | purple; purple; bright purple; violet; purple-coloured

[material]
matte = matte; matte surface | matte; matte; dull; rough; non-glossy | it has a matte surface; the surface is dull
glossy = glossy; shiny; glossy surface | glossy; glossy; shiny; polished; gleaming | it has a glossy surface; the surface is shiny
striped = striped; stripes | striped; striped; stripy; white-striped | it has stripes; it is painted with stripes

[surroundings]
meadow = meadow; grass; green meadow; grassy field | in a meadow; on a green meadow; in a grassy field; on the grass; on a lawn; on green grass; across a meadow
desert = desert; sand; sandy desert; dunes | in the desert; on the sand; in a sandy desert; on desert sand; on the dunes; among cacti in the desert; in a dry desert
snow = snow; snowy landscape; winter; snowfield | in the snow; on snow; in a snowy landscape; on snowy ground; across the snow; in a white winter field; on a snowfield

[action]
still = standing still; motionless; not moving | standing still; not moving; at rest; resting motionless; waiting without moving | stands still; does not move; rests motionless; stays where it is; is at rest; stays still
travel-left@ball = rolling left; rolling to the left | rolling to the left; rolling left; moving left; rolling from right to left; moving to the left | rolls to the left; rolls left; moves to the left; rolls from right to left; rolls toward the left; travels left
travel-right@ball = rolling right; rolling to the right | rolling to the right; rolling right; moving right; rolling from left to right; moving to the right | rolls to the right; rolls right; moves to the right; rolls from left to right; rolls toward the right; travels right
travel-left@robot = walking left; walking to the left | walking to the left; walking left; moving left; walking from right to left; marching to the left; moving to the left | walks to the left; walks left; moves to the left; walks from right to left; walks toward the left; marches left
travel-right@robot = walking right; walking to the right | walking to the right; walking right; moving right; walking from left to right; marching to the right; moving to the right | walks to the right; walks right; moves to the right; walks from left to right; walks toward the right; marches right
travel-left@other = sliding left; gliding to the left | sliding to the left; gliding left; moving left; sliding from right to left; moving to the left | slides to the left; glides left; moves to the left; slides from right to left; glides toward the left; travels left
travel-right@other = sliding right; gliding to the right | sliding to the right; gliding right; moving right; sliding from left to right; moving to the right | slides to the right; glides right; moves to the right; slides from left to right; glides toward the right; travels right
bounce@robot = jumping; jumping up and down | jumping up and down; jumping; hopping; jumping on the spot; bouncing up and down | jumps up and down; jumps; hops; keeps jumping; jumps on the spot; bounces up and down
bounce@other = bouncing; bouncing up and down | bouncing up and down; bouncing; hopping; jumping up and down; bouncing again and again | bounces up and down; bounces; hops; keeps bouncing; jumps up and down; bounces again and again
spin = spinning; rotating | spinning; spinning in place; rotating; turning around itself; spinning on the spot | spins; spins in place; rotates; turns around itself; spins on the spot; turns round and round
drop = falling; falling from above | falling from above; dropping to the ground; falling to the ground; falling and coming to rest | falls from above and comes to rest; falls to the ground; drops from above; drops to the ground; falls down and comes to rest; falls from the sky
collide = collision; hit by another ball | hit by another ball; struck by a second ball; colliding with another ball; pushed by another ball | is hit by another ball; is struck by a second ball; collides with another ball; is pushed by another ball; is hit by a second ball

[time]
dawn = Dawn time; dawn; first light | at dawn; before sunrise; at first light; in the early dawn | it is dawn; dawn is breaking; the sun has not yet risen
sunrise = Sunrise time; sunrise; morning | at sunrise; in the morning; under a sunrise sky; as the sun rises | it is sunrise; the sun is rising; it is morning
day = Day time; day; daytime; noon; midday | by day; during the day; in the daytime; at noon; under a blue sky; in the middle of the day | it is day; the sky is blue; it is noon
sunset = Sunset time; sunset; golden hour | at sunset; under a sunset sky; in the golden hour; as the sun sets; under the setting sun | it is sunset; the sun is setting; it is the golden hour
dusk = Dusk time; dusk; twilight; blue hour; evening | at dusk; at twilight; in the evening; in the blue hour; in the evening twilight | it is dusk; evening has come; it is twilight
night = Night time; night; nighttime; midnight | at night; by night; during the night; under the night sky; in the dark of night; at midnight; on a starry night | it is night; it is a dark night; stars are in the night sky

[light_source]
sky@day = Daylight; Sunny lighting; sunlight; natural light | in sunlight; sunlit; in daylight; lit by the sun; in bright sunshine | the sun is shining; sunlight falls on it; it is a sunny day
sky@golden = Golden sunlight; Sunny lighting; sunlight; golden light | in golden sunlight; in the golden light of the sun; lit by the low sun; in sunlight | golden sunlight falls on it; the low sun is shining; the sun is low
sky@night = Moonlight; moonlit; light of the moon | in moonlight; moonlit; under the moon; by moonlight; lit by the moon | the moon is shining; moonlight falls on it; the moon lights it
overcast = Overcast lighting; overcast light; cloudy; overcast | under an overcast sky; in overcast light; under a cloudy sky; under grey clouds | the sky is overcast; the sky is cloudy; grey clouds cover the sky
practical = Practical lighting; practical light; lamplight; lamp | lit by a lamp; by lamplight; beside a glowing lamp; in the light of a lamp; next to a lamp | a lamp stands beside it; a lamp is glowing; a lamp lights it

[light_quality]
soft-light = Soft lighting; soft light; diffused light; soft shadows | in soft light; softly lit; in diffused light; with soft shadows | the light is soft; the shadows are soft; the light is diffused
hard-light = Hard lighting; hard light; harsh light; hard shadows | in hard light; in harsh light; with hard shadows; with sharp shadows | the light is hard; the shadows are sharp; the light is harsh

[light_direction]
left = Side lighting from the left; light from the left; left side light; lit from the left; Side lighting?; side light? | lit from the left; with light from the left; with side light from the left; lit from the left side | the light comes from the left; the light is on the left; it is lit from the left
right = Side lighting from the right; light from the right; right side light; lit from the right; Side lighting?; side light? | lit from the right; with light from the right; with side light from the right; lit from the right side | the light comes from the right; the light is on the right; it is lit from the right
backlight = Backlighting; backlight; backlit; light from behind | backlit; lit from behind; against the light; with light from behind | it is backlit; the light comes from behind; it is lit from behind
front = Front lighting; front light; frontal light; lit from the front | lit from the front; front-lit; with light from the front; in frontal light | the light comes from the front; it is lit from the front; the light is frontal
top-light = Top lighting; top light; overhead light; light from above | lit from above; with light from above; in top light; with overhead light | the light comes from above; it is lit from above; the light is overhead

[tone]
warm = Warm colors; warm colours; warm tones; warm color tone; warm | in warm colors; in warm tones; with a warm tone; in a warm palette | the colors are warm; the picture has a warm tone; everything is in warm tones
cool = Cool colors; cool colours; cool tones; cool color tone; cold colors | in cool colors; in cool tones; with a cool tone; in a cold palette; in cold colors | the colors are cool; the picture has a cool tone; everything is in cool tones
neutral = Neutral colors; neutral tones; natural colors | in neutral colors; in neutral tones; in natural colors | the colors are neutral; the picture has a neutral tone; the colors are natural

[saturation]
normal = normal saturation; medium saturation | with normal saturation; with medium saturation
high-saturation = High saturation; vivid colors; saturated; highly saturated | with vivid colors; highly saturated; in saturated colors; with high saturation | the colors are vivid; the colors are highly saturated; the saturation is high
low-saturation = Low saturation; muted colors; desaturated; pale colors | with muted colors; desaturated; in pale colors; with low saturation | the colors are muted; the colors are pale; the saturation is low

[contrast]
normal = normal contrast; medium contrast | with normal contrast; with medium contrast
high-contrast = High contrast lighting; high contrast; strong contrast | with high contrast; in high contrast; with strong contrast; with high contrast lighting | the contrast is high; the contrast is strong
low-contrast = Low contrast lighting; low contrast; weak contrast; flat contrast | with low contrast; in low contrast; with weak contrast; with flat contrast | the contrast is low; the contrast is weak

[shot_size]
extreme-close-up = Extreme close-up shot; extreme close-up; macro shot; very close view | extreme close-up; extreme close-up shot; very close view; macro shot | it is seen from very close; it fills the picture
close-up = Close-up shot; close-up; close shot; close view | close-up; close-up shot; close view; close shot | it is seen from close by; it is seen close up
medium = Medium shot; mid shot; medium; medium view | medium shot; mid shot; medium view | it is seen from a medium distance; it is a medium shot
wide = Wide shot; full shot; long shot; wide view | wide shot; full shot; long shot; wide view | it is seen from a distance; it is a wide shot
extreme-wide = Extreme wide shot; establishing shot; extreme long shot; very wide shot | extreme wide shot; establishing shot; extreme long shot; very wide shot | it is seen from far away; it is tiny in the picture

[camera_angle]
eye-level = Eye-level shot; eye level; at eye level | at eye level; seen at eye level | the camera is at eye level | eye-level
low-angle = Low angle shot; low angle; from a low angle; worm's eye view | from a low angle; seen from below; shot from below; looking up at it | the camera looks up at it; the camera is low; it is seen from below | low-angle
high-angle = High angle shot; high angle; from a high angle | from a high angle; seen from a high angle; looking down at it; shot from a high angle | the camera looks down at it; the camera is high; it is seen from a high angle | high-angle
dutch-angle = Dutch angle shot; Dutch angle; dutch tilt; canted angle | at a dutch angle; with a tilted horizon; with a dutch tilt; at a canted angle | the horizon is tilted; the frame is tilted; the camera is at a dutch angle | dutch-angle
overhead = Overhead shot; overhead; top-down shot; bird's eye view | seen from above; from overhead; in a top-down view; in a bird's eye view | it is seen from above; the camera looks straight down; it is a top-down view | overhead

[lens]
normal-lens = Medium focal length lens; normal lens; 50mm; standard lens | with a normal lens; through a normal lens; with a standard lens; shot on a 50mm lens
wide-angle = Wide-angle lens; wide-angle; wide lens | with a wide-angle lens; through a wide-angle lens; shot on a wide lens; with a wide lens
telephoto = Long-focus lens; telephoto; telephoto lens; long lens | with a telephoto lens; through a telephoto lens; shot on a long lens; with a long lens
fisheye = Ultra-wide fisheye lens; fisheye; fisheye lens; fisheye view | with a fisheye lens; through a fisheye lens; shot on a fisheye lens; in a fisheye view

[focus]
deep = Deep focus; deep depth of field; everything sharp | in deep focus; with everything in focus; with deep depth of field | everything is in focus; the background is sharp
shallow = Shallow focus; shallow depth of field; blurred background; bokeh | with shallow focus; with a blurred background; with shallow depth of field; before a soft background blur | the background is blurred; only the subject is in focus; the background is out of focus

[composition]
center = Center composition; centre; centered composition; centered | in the center of the frame; centered; in the middle of the picture | it is in the center of the frame; it is centered
left-heavy = Left-heavy composition; left-heavy; left-weighted composition | on the left side of the frame; in the left third; in the left of the picture; framed on the left | it is on the left side of the frame; it stands in the left third
right-heavy = Right-heavy composition; right-heavy; right-weighted composition | on the right side of the frame; in the right third; in the right of the picture; framed on the right | it is on the right side of the frame; it stands in the right third

[camera]
static = static; static camera; fixed camera; static shot; locked-off shot | the camera static; with a static camera; the camera holds still; with a fixed camera; the camera not moving | The camera is static; the camera does not move; the camera holds still; the camera is fixed; the camera stays still
pan-left = pan left; camera pans left; slow pan to the left; pan to the left | the camera pans left; the camera panning left; as the camera pans to the left; the camera turns left | The camera pans left; the camera pans to the left; the camera turns left; the camera turns to the left
pan-right = pan right; camera pans right; slow pan to the right; pan to the right | the camera pans right; the camera panning right; as the camera pans to the right; the camera turns right | The camera pans right; the camera pans to the right; the camera turns right; the camera turns to the right
tilt-up = tilt up; camera tilts up; slow tilt up | the camera tilts up; the camera tilting up; as the camera tilts upward | The camera tilts up; the camera tilts upward; the camera pans up; the camera slowly tilts up
tilt-down = tilt down; camera tilts down; slow tilt down | the camera tilts down; the camera tilting down; as the camera tilts downward | The camera tilts down; the camera tilts downward; the camera pans down; the camera slowly tilts down
dolly-in = dolly in; push in; slow push in; camera moves in; camera moves closer | the camera pushes in; the camera pushing in; as the camera dollies in; the camera moves closer | The camera pushes in; the camera dollies in; the camera moves in; the camera moves closer; the camera moves forward
dolly-out = dolly out; pull back; slow pull back; camera moves away | the camera pulls back; the camera pulling back; as the camera dollies out; the camera moves away | The camera pulls back; the camera dollies out; the camera moves away; the camera moves back; the camera moves backward
truck-left = truck left; track left; camera moves left | the camera moves to the left; the camera trucks left; as the camera tracks left; the camera slides to the left | The camera moves to the left; the camera trucks left; the camera slides left; the camera tracks to the left
truck-right = truck right; track right; camera moves right | the camera moves to the right; the camera trucks right; as the camera tracks right; the camera slides to the right | The camera moves to the right; the camera trucks right; the camera slides right; the camera tracks to the right
crane-up = crane up; camera rises; boom up; crane shot up | the camera rises; the camera rising; as the camera cranes up; the camera moves up | The camera rises; the camera cranes up; the camera moves upward; the camera moves up
crane-down = crane down; camera descends; boom down; crane shot down | the camera descends; the camera descending; as the camera cranes down; the camera moves down | The camera descends; the camera cranes down; the camera moves downward; the camera moves down; the camera lowers
orbit-left = orbit left; arc left; camera orbits left; orbit to the left | the camera orbits to the left; the camera orbiting left; as the camera circles to the left; the camera arcs left | The camera orbits to the left around the subject; the camera orbits left; the camera circles to the left; the camera arcs to the left
orbit-right = orbit right; arc right; camera orbits right; orbit to the right | the camera orbits to the right; the camera orbiting right; as the camera circles to the right; the camera arcs right | The camera orbits to the right around the subject; the camera orbits right; the camera circles to the right; the camera arcs to the right
zoom-in = zoom in; camera zooms in; slow zoom in | the camera zooms in; the camera zooming in; as the lens zooms in | The camera zooms in; the lens zooms in; the camera slowly zooms in; the picture zooms in
zoom-out = zoom out; camera zooms out; slow zoom out | the camera zooms out; the camera zooming out; as the lens zooms out | The camera zooms out; the lens zooms out; the camera slowly zooms out; the picture zooms out
roll-clockwise = roll clockwise; camera rolls clockwise; clockwise roll | the camera rolls clockwise; the camera rolling clockwise; as the camera rolls clockwise | The camera rolls clockwise; the camera slowly rolls clockwise; the camera rolls to the right
roll-counterclockwise = roll counterclockwise; camera rolls counterclockwise; roll anticlockwise | the camera rolls counterclockwise; the camera rolling counterclockwise; as the camera rolls anticlockwise | The camera rolls counterclockwise; the camera rolls anticlockwise; the camera rolls to the left
follow = follow; tracking shot; follow shot; camera follows | the camera follows it; the camera following it; as the camera follows; in a tracking shot | The camera follows the subject; the camera follows it; the camera tracks the subject; the camera follows along
dolly-in+crane-up = dolly in and crane up; push in while rising | the camera dollies in while rising; the camera rises and pushes in; pushing in as the camera rises | the camera dollies in while rising; the camera pushes in and rises; the camera rises and moves in
dolly-out+crane-up = dolly out and crane up; pull back while rising | the camera dollies out while rising; the camera rises and pulls back; pulling back as the camera rises | the camera dollies out while rising; the camera pulls back and rises; the camera rises and moves back
pan-left+zoom-in = pan left and zoom in; pan left while zooming in | the camera pans left while zooming in; the camera zooms in and pans left; panning left as the camera zooms in | the camera pans left while zooming in; the camera pans to the left and zooms in; the camera zooms in and pans left
pan-right+zoom-in = pan right and zoom in; pan right while zooming in | the camera pans right while zooming in; the camera zooms in and pans right; panning right as the camera zooms in | the camera pans right while zooming in; the camera pans to the right and zooms in; the camera zooms in and pans right

[grip]
steady = steady; steady shot; stabilized shot | with a steady camera; steady; stabilized | the picture is steady
handheld = handheld; Handheld camera; shaky; handheld shot | handheld; shot handheld; with a shaky camera; with a handheld camera | the picture shakes; the camera is handheld; it is filmed handheld
"""  # noqa: E501

THINGS = (
    "a~[{material} ][{colour} ]{subject}",
    "a~[{material}, ][{colour} ]{subject}",
    "a~[{colour} ]{subject}[ ({material.tag})]",
    "the[ {material}][ {colour}] {subject}",
    "a~[{colour} ][{material} ]{subject}",
)
"""How the subject is called. "a~" becomes "a" or "an"."""

FRAMES = (
    "[{tags}. ]{thing}[ {action.sentence}][ {surroundings}][. {camera.sentence}].",
    "[{tags}. ]{thing}[ {action}][ {surroundings}][, {camera}].",
    "[a~{view} of ]{thing}[ {action}][ {surroundings}][ {time}][, {clauses}].",
    "[{view} of ]{thing}[ {action}][ {surroundings}][ {time}][, {clauses}][. {camera.sentence}].",
    "{thing}[ {action.sentence}][ {surroundings}][ {time}][. {sentences}].",
    "[{surroundings}, ]{thing}[ {action.sentence}][. {sentences}].",
    "[{time}, ]{thing}[ {action.sentence}][ {surroundings}][, {clauses}].",
    "[{camera.sentence}. ]{thing}[ {action}][ {surroundings}][ {time}][, {tags}].",
    "[{camera.sentence}. ][a~{view} of ]{thing}[ {surroundings}][. It {action.sentence}][. {sentences}].",
    "{thing}[, {action}][, {tags}]",
    "[{tags}, ]{thing}[, {action.tag}]",
    "{thing}[ {action}][ {surroundings}][, {tags}]",
    "[{view}, ]{thing}[ {action}][ {surroundings}][, {clauses}][. {sentences}].",
    "{thing}[ {action.sentence}][ {surroundings}][. {tags}][. {camera.sentence}].",
    "{thing}[ {surroundings}][. It {action.sentence}][. {sentences}].",
    "[in this {view}, ]{thing}[ {action.sentence}][ {surroundings}][ {time}][, {clauses}].",
    "[{time}][, {surroundings}]: {thing}[, {action}][; {tags}].",
    "the picture shows {thing}[ {action}][ {surroundings}][. {sentences}].",
    "[camera: {camera.tag}. ]{thing}[ {action}][ {surroundings}][. {tags}].",
    "here is {thing}[ {surroundings}][ {time}][, {action}][. {sentences}].",
)
"""Captions with places for labels; what stands in brackets goes when its label is not said."""
