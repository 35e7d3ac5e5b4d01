// The Control Room's scripts, each for one thing.

import "./relative_time.js";
import "./live_fragments.js";
import "./control_room_commands.js";
import "./connection.js";
import "./control_room_question.js";
import "./control_room_viewer.js";
