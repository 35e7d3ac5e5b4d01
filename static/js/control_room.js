// Scripts of the Control Room's page.

import "./relative_time.js";
import "./live_fragments.js";
import "./control_room_commands.js";
import "./connection.js";
import "./confirm_dialog.js";
import "./switches.js";
import "./log_viewer.js";
