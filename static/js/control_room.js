// The Control Room's scripts, each for one thing.

import "./ages.js";
import "./parts.js";
import "./control_room_commands.js";
import "./connection.js";
import "./control_room_question.js";
import "./control_room_viewer.js";
